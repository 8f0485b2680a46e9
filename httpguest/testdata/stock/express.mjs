// An application as the guide of Express has it, which is made for the root of a site.
import express from 'express'
import session from 'express-session'

const app = express()
app.use(express.urlencoded({ extended: false }))
app.use(session({ secret: 'not a secret', resave: false, saveUninitialized: false, name: 'session' }))
app.get('/', (request, response) => {
  if (!request.session.user) return response.redirect('/login')
  response.links({ next: '/page/2' }).send(`Welcome, ${request.session.user}`)
})
app.get('/login', (request, response) => response.send('Log in'))
app.post('/login', (request, response) => {
  request.session.user = request.body.username
  response.redirect(`${request.protocol}://${request.get('host')}/`)
})
app.get('/logout', (request, response) => request.session.destroy(() => response.redirect('/login')))
app.listen(process.argv[2])
process.stdin.on('end', () => process.exit()).resume()
