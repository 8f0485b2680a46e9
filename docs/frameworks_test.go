// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Frameworks that are told their mount by the setting that recipes.md names.

package docs

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
	"github.com/wsgiparty/wsgiparty/internal/debian"
	"github.com/wsgiparty/wsgiparty/internal/testport"
)

// frameworks are, by the row of the table, programs whose page / says the URL of their page /posts, and whose page /old
// redirects there. PORT stands for where they listen.
var frameworks = map[string]struct {
	packages []string
	settings []string // of the row that the program has
	file     string
	program  string
	command  []string
}{
	"Flask": {[]string{"python3-flask"}, []string{"app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1)"}, "program.py", `
from flask import Flask, redirect, url_for
from werkzeug.middleware.proxy_fix import ProxyFix
app = Flask("program")
app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1)
app.add_url_rule("/", "home", lambda: url_for("posts"))
app.add_url_rule("/posts", "posts", lambda: "posts")
app.add_url_rule("/old", "old", lambda: redirect(url_for("posts")))
app.run(port=PORT)
`, []string{"/usr/bin/python3", "program.py"}},
	"Django": {[]string{"python3-django"}, []string{`FORCE_SCRIPT_NAME = "/blog"`}, "program.py", `
from wsgiref.simple_server import make_server
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__,
    FORCE_SCRIPT_NAME = "/blog",
)
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import path, reverse
urlpatterns = [
    path("", lambda request: HttpResponse(reverse("posts"))),
    path("posts", lambda request: HttpResponse("posts"), name="posts"),
    path("old", lambda request: redirect("posts")),
]
make_server("127.0.0.1", PORT, get_wsgi_application()).serve_forever()
`, []string{"/usr/bin/python3", "program.py"}},
	"FastAPI": {[]string{"python3-fastapi", "python3-uvicorn"}, []string{`FastAPI(root_path="/blog")`}, "program.py", `
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, RedirectResponse
app = FastAPI(root_path="/blog")
@app.get("/")
def home(request: Request):
    return PlainTextResponse(request.url_for("posts").path)
@app.get("/posts")
def posts():
    return "posts"
@app.get("/old")
def old(request: Request):
    return RedirectResponse(request.url_for("posts"), 302)
uvicorn.run(app, port=PORT)
`, []string{"/usr/bin/python3", "program.py"}},
	"Rails": {[]string{"ruby-actionpack", "ruby-railties", "puma"}, []string{`run ->(env) { Rails.application.call(env.merge("SCRIPT_NAME" => env["HTTP_X_FORWARDED_PREFIX"].to_s)) }`}, "config.ru", `
require "action_controller/railtie"
class Blog < Rails::Application
  config.eager_load = false
  config.secret_key_base = "x" * 32
  config.hosts.clear
  routes.append do
    root to: "pages#home"
    get "/posts", to: "pages#posts", as: "posts"
    get "/old", to: "pages#old"
  end
end
Rails.application.initialize!
class PagesController < ActionController::Base
  def home = render(plain: posts_path)
  def posts = render(plain: "posts")
  def old = redirect_to(posts_path)
end
run ->(env) { Rails.application.call(env.merge("SCRIPT_NAME" => env["HTTP_X_FORWARDED_PREFIX"].to_s)) }
`, []string{"puma", "-e", "production", "-b", "tcp://127.0.0.1:PORT"}},
	"Symfony": {[]string{"php-cli", "php-symfony-framework-bundle"}, []string{"trusted_proxies", "x-forwarded-prefix", "trusted_headers"}, "program.php", `<?php
require 'Symfony/Bundle/FrameworkBundle/autoload.php';
use Symfony\Component\HttpFoundation\{RedirectResponse, Request, Response};
use Symfony\Component\Routing\Generator\UrlGeneratorInterface;
final class Blog extends Symfony\Component\HttpKernel\Kernel
{
    use Symfony\Bundle\FrameworkBundle\Kernel\MicroKernelTrait;
    public function registerBundles(): iterable { return [new Symfony\Bundle\FrameworkBundle\FrameworkBundle()]; }
    public function getProjectDir(): string { return __DIR__; }
    protected function configureContainer($container): void
    {
        $container->extension('framework', ['secret' => 'x', 'test' => true, 'trusted_proxies' => '127.0.0.1', 'trusted_headers' => ['x-forwarded-prefix']]);
    }
    protected function configureRoutes($routes): void
    {
        $routes->add('home', '/')->controller([self::class, 'home']);
        $routes->add('posts', '/posts')->controller([self::class, 'posts']);
        $routes->add('old', '/old')->controller([self::class, 'old']);
    }
    public function home(): Response { return new Response($this->container->get('router')->generate('posts')); }
    public function posts(): Response { return new Response('posts'); }
    public function old(): Response { return new RedirectResponse($this->container->get('router')->generate('posts')); }
}
$kernel = new Blog('prod', false);
$kernel->handle(Request::createFromGlobals())->send();
`, []string{"php", "-S", "127.0.0.1:PORT", "program.php"}},
	"Express": {[]string{"nodejs", "npm"}, []string{"app.use('/blog', router)", "`req.baseUrl` is `/blog`", "`handle /blog/*` instead of `handle_path`"}, "program.mjs", `
import express from 'express'
const app = express(), router = express.Router()
router.get('/', (req, res) => res.send(req.baseUrl + '/posts'))
router.get('/posts', (req, res) => res.send('posts'))
router.get('/old', (req, res) => res.redirect(req.baseUrl + '/posts'))
app.use('/blog', router)
app.listen(PORT, '127.0.0.1')
`, []string{"node", "program.mjs"}},
}

// TestTheSettingsOfFrameworks mounts them behind the page's first recipe, without mount_responses.
func TestTheSettingsOfFrameworks(t *testing.T) {
	page := pages(t)["docs/recipes.md"]
	_, recipe, _ := strings.Cut(page, "```caddyfile\n")
	recipe, _, _ = strings.Cut(recipe, "```")
	recipe = strings.Replace(recipe, "mount_responses\n", "", 1)
	for name, framework := range frameworks {
		t.Run(name, func(t *testing.T) {
			_, row, _ := strings.Cut(page, "\n| "+name+" | ")
			row, _, _ = strings.Cut(row, "\n")
			check.Contains(t, row, framework.settings)
			debian.Install(t, framework.packages...)
			dir, recipe := t.TempDir(), recipe
			if name == "Express" {
				dir = debian.NodeModules(t, "../httpguest/testdata/stock/package.json")
				recipe = strings.Replace(recipe, "handle_path", "handle", 1)
			}
			address := testport.Address(t)
			_, port, _ := net.SplitHostPort(address)
			check.Must(t, os.WriteFile(filepath.Join(dir, framework.file), []byte(strings.ReplaceAll(framework.program, "PORT", port)), 0o600))
			c := exec.Command(framework.command[0], strings.Fields(strings.ReplaceAll(strings.Join(framework.command[1:], " "), "PORT", port))...)
			output := new(strings.Builder)
			c.Dir, c.Stdout, c.Stderr = dir, output, output
			check.Must(t, c.Start())
			t.Cleanup(func() {
				_ = c.Process.Kill()
				_ = c.Wait()
				if t.Failed() {
					t.Log(output)
				}
			})
			k := newKitchen(t, recipe)
			k.cook(address)
			k.soon("https://example.com/blog/", 200, "/blog/posts")
			k.soon("https://example.com/blog/posts", 200, map[bool]string{false: "posts", true: `"posts"`}[name == "FastAPI"])
			response := k.get("https://example.com/blog/old")
			check.Equal(t, response.Status, http.StatusFound)
			location := check.Value(url.Parse(response.Header.Get("Location")))(t)
			check.Equal(t, location.Path, "/blog/posts")
		})
	}
}
