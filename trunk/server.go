// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// The NATS server that may be embedded.

package trunk

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

// servers are the embedded ones, by their addresses. They outlive configs that have the same.
var servers = caddy.NewUsagePool()

// embeddedServer is a NATS server in this process.
type embeddedServer struct {
	*server.Server
	key    string
	logger *zap.Logger

	mu    sync.Mutex
	users []settings // of the links, the last of which are in force
	files string     // the certificates, as they were read last
}

// Destruct ends the server with the last link that uses it.
func (e *embeddedServer) Destruct() error {
	e.Shutdown()
	e.WaitForShutdown()
	return nil
}

// embed returns the server, which runs already if a link of the process has its addresses, and then takes these settings.
// Release it with them.
func embed(s settings, logger *zap.Logger) (*embeddedServer, error) {
	key := s.Embedded.Listen + " " + s.Embedded.Cluster
	loaded, runs, err := servers.LoadOrNew(key, func() (caddy.Destructor, error) {
		e := &embeddedServer{key: key, logger: logger, users: []settings{s}, files: s.filesOfServer()}
		options, err := s.serverOptions()
		if err != nil {
			return nil, err
		}
		if err = s.checkAddresses(); err != nil {
			return nil, err
		}
		if e.Server, err = server.NewServer(options); err != nil {
			return nil, fmt.Errorf("embedded: %w", err)
		}
		e.SetLogger(&natsLogger{logger: logger.Named("nats"), logged: make(map[string]time.Time)}, false, false)
		e.Start()
		return e, nil
	})
	if err != nil {
		return nil, err
	}
	e := loaded.(*embeddedServer)
	if runs {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.users = append(e.users, s)
		if err = e.change(e.users[len(e.users)-2]); err != nil {
			e.users = e.users[:len(e.users)-1]
			_, _ = servers.Delete(key)
			return nil, fmt.Errorf("embedded: %w", err)
		}
	}
	return e, nil
}

// release returns to the settings of the link before, if there is one.
func (e *embeddedServer) release(s settings) error {
	e.mu.Lock()
	last := e.users[len(e.users)-1]
	for i := len(e.users) - 1; i >= 0; i-- {
		if e.users[i].ofServer() == s.ofServer() {
			e.users = append(e.users[:i:i], e.users[i+1:]...)
			break
		}
	}
	if len(e.users) > 0 {
		if err := e.change(last); err != nil {
			e.logger.Error("the embedded NATS server keeps settings of a config that has ended", zap.Error(err))
		}
	}
	e.mu.Unlock()
	_, err := servers.Delete(e.key)
	return err
}

// change has the server take the settings of the last link, if they differ. Connections stay, but for those that could not
// log in again. The server must be locked.
func (e *embeddedServer) change(from settings) error {
	s := e.users[len(e.users)-1]
	if s.ofServer() == from.ofServer() {
		return nil
	}
	return e.take(s)
}

func (e *embeddedServer) take(s settings) error {
	files := s.filesOfServer()
	options, err := s.serverOptions()
	if err != nil {
		return err
	}
	options.ServerName = e.Name() // the node may have been renamed
	if err := e.ReloadOptions(options); err != nil {
		return err
	}
	e.files = files
	return nil
}

// renew reads the files of certificates again if they have changed.
func (e *embeddedServer) renew() {
	defer recovered(e.logger, "certificates were looked at")
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.users) == 0 {
		return
	}
	s := e.users[len(e.users)-1]
	files := s.filesOfServer()
	if files == e.files {
		return
	}
	if err := e.take(s); err != nil {
		e.files = files // so that it is said once
		e.logger.Error("changed certificates of the trunk cannot be read", zap.Error(err), zap.String("hint", "those that were read before stay in use; correct the files"))
		return
	}
	e.logger.Info("changed certificates of the trunk were read", zap.String("certificate", s.Embedded.TLS.Certificate))
}

// ofServer tells settings apart that make different servers.
func (s settings) ofServer() string {
	encoded, _ := json.Marshal([]any{s.Embedded, s.Secret, s.Subject})
	return string(encoded)
}

// filesOfServer tells when the files of certificates were changed last.
func (s settings) filesOfServer() (changed string) {
	if s.Embedded.TLS == nil {
		return ""
	}
	for _, file := range []string{s.Embedded.TLS.CA, s.Embedded.TLS.Certificate, s.Embedded.TLS.Key} {
		if info, err := os.Stat(file); err == nil {
			changed += fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size(), "\n")
		}
	}
	return changed
}

// hereUser is the user of this process, whose password no secret changes.
const hereUser = "here"

var herePassword = rand.Text()

// noPort is where the server does not listen for clients. With DontListen it would not listen for other servers
// either: it opens the port for those once it has tried to open the one for clients (Server.Start, v2.15).
const noPort = 1 << 16

// routeRetries is how often the server tries to connect again to one that it has learnt of from another, once a second:
// NATS tries once by default, and the two would not find each other when the network between them is back.
const routeRetries = 1 << 18

func (s settings) serverOptions() (*server.Options, error) {
	e := s.Embedded
	// Servers of one name would connect again and again, and nodes of one name not know of each other.
	options := &server.Options{ServerName: token(s.Node) + "-" + processID, Host: "127.0.0.1", Port: noPort, NoSigs: true, NoLog: true, MaxPayload: maxPayload,
		Users: []*server.User{{Username: natsUser, Password: derive(s.Secret, "client")}, {Username: hereUser, Password: herePassword}}}
	var err error
	if e.Listen != "" {
		if options.Host, options.Port, err = splitAddress(e.Listen); err != nil {
			return nil, err
		}
		if options.TLSConfig, err = secretTLS(s.Secret); err != nil {
			return nil, err
		}
		options.TLSTimeout = tlsTimeout
	}
	if e.Cluster == "" {
		return options, nil
	}
	options.Cluster = server.ClusterOpts{Name: s.Subject, Username: natsUser, Password: derive(s.Secret, "cluster"),
		PingInterval: beatEvery, MaxPingsOut: 2, ConnectRetries: routeRetries}
	if options.Cluster.Host, options.Cluster.Port, err = splitAddress(e.Cluster); err != nil {
		return nil, err
	}
	for _, route := range e.Routes {
		u, err := url.Parse(route)
		if err != nil {
			return nil, err
		}
		options.Routes = append(options.Routes, &url.URL{Scheme: "nats-route", Host: u.Host, User: url.UserPassword(natsUser, options.Cluster.Password)})
	}
	if e.TLS != nil {
		config, err := e.TLS.config()
		if err != nil {
			return nil, err
		}
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, config.RootCAs
		options.Cluster.TLSConfig = config
	} else if options.Cluster.TLSConfig, err = secretTLS(s.Secret); err != nil {
		return nil, err
	}
	options.Cluster.TLSTimeout = tlsTimeout
	return options, nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	return host, port, err
}

// checkAddresses returns an error for an address that is not free to listen on.
func (s settings) checkAddresses() error {
	for _, at := range [][2]string{{"embedded", s.Embedded.Listen}, {"cluster", s.Embedded.Cluster}} {
		if at[1] == "" {
			continue
		}
		listener, err := net.Listen("tcp", at[1])
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("%s: %w: free the address or write another one; if the running config has it, and another one for `embedded` or `cluster` than this config, restart Caddy", at[0], err)
		} else if err != nil {
			return fmt.Errorf("%s: %w: write an address of this machine", at[0], err)
		}
		listener.Close()
	}
	return nil
}

// natsLogger logs what an embedded server says, and what is alike once a minute: it may try in vain each second.
type natsLogger struct {
	logger *zap.Logger

	mu     sync.Mutex
	logged map[string]time.Time // when, by format
}

// ofConnection begins messages about one, whose numbers differ.
var ofConnection = regexp.MustCompile(`^.*[a-z]id:\d+( - )?`)

func (l *natsLogger) isNew(format string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	alike := ofConnection.ReplaceAllString(format, "")
	if time.Since(l.logged[alike]) < time.Minute {
		return false
	}
	l.logged[alike] = time.Now()
	return true
}

// aboutLogins is in messages about nodes that do not let each other in.
var aboutLogins = regexp.MustCompile(`(?i)auth|tls|certificate`)

func (l *natsLogger) Errorf(format string, v ...any) {
	text, hint := fmt.Sprintf(format, v...), "another node is stopped, or the network to it: this server tries again and again"
	if aboutLogins.MatchString(text) {
		hint = "give all nodes the same secret, or certificates of the same authorities"
	}
	l.report(format, text, hint)
}

func (l *natsLogger) report(format, text, hint string) {
	if l.isNew(format) {
		l.logger.Error("the embedded NATS server reports an error", zap.String("error", text), zap.String("hint", hint))
	}
}

func (l *natsLogger) Warnf(format string, v ...any) {
	// The password of the server's options is in no file.
	if text := fmt.Sprintf(format, v...); !strings.HasPrefix(text, "Plaintext passwords") && l.isNew(format) {
		l.logger.Warn("the embedded NATS server warns", zap.String("warning", text))
	}
}

// Fatalf is called for an address that cannot be listened on, which noPort is.
func (l *natsLogger) Fatalf(format string, v ...any) {
	if text := fmt.Sprintf(format, v...); !strings.Contains(text, strconv.Itoa(noPort)) {
		l.report(format, text, "if it is an address that cannot be listened on, free it, or write another one")
	}
}

func (l *natsLogger) Noticef(format string, v ...any) {
	if strings.Contains(format, "Slow Consumer") { // whose messages are lost
		l.Warnf(format, v...)
		return
	}
	l.logger.Sugar().Debugf(format, v...)
}

func (l *natsLogger) Debugf(string, ...any) {}
func (l *natsLogger) Tracef(string, ...any) {}
