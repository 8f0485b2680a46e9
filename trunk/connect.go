// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

// Connecting to NATS, and the server that may be embedded.

package trunk

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// natsUser is the user of an embedded server.
const natsUser = "trunk"

// maxPayload is that of an embedded server, in bytes, and the most for which NATS does not warn.
const maxPayload = 8 << 20

const tlsTimeout = 5 // seconds, of a handshake

// connect connects to NATS. If that cannot be reached now, the connection goes on trying.
func connect(s settings, embedded *server.Server, logger *zap.Logger, options ...nats.Option) (*nats.Conn, error) {
	options = append(options, nats.Name("wsgi_party_trunk "+s.Node), nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond), nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(2*time.Second),
		nats.ReconnectBufSize(-1), nats.NoCallbacksAfterClientClose(), nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			logger.Warn("the trunk has lost its connection to NATS", zap.Error(err), zap.String("hint", "it tries again; guests of other nodes leave after 6s"))
		}), nats.ReconnectHandler(func(c *nats.Conn) {
			logger.Info("the trunk is connected to NATS", zap.String("server", c.ConnectedUrlRedacted()))
		}))
	if embedded != nil {
		return nats.Connect("", append(options, nats.InProcessServer(embedded), nats.UserInfo(natsUser, derive(s.Secret, "client")))...)
	}
	switch {
	case s.Credentials != "":
		options = append(options, nats.UserCredentials(s.Credentials))
	case s.NKey != "":
		nkey, err := nats.NkeyOptionFromSeed(s.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey: %w", err)
		}
		options = append(options, nkey)
	case s.User != "":
		options = append(options, nats.UserInfo(s.User, s.Password))
	case s.Token != "":
		options = append(options, nats.Token(s.Token))
	case s.Secret != "":
		config, err := secretTLS(s.Secret)
		if err != nil {
			return nil, err
		}
		options = append(options, nats.UserInfo(natsUser, derive(s.Secret, "client")), nats.Secure(config))
	}
	if s.TLS != (TLS{}) {
		config, err := s.TLS.config()
		if err != nil {
			return nil, err
		}
		options = append(options, nats.Secure(config))
	}
	return nats.Connect(strings.Join(s.Servers, ","), options...)
}

func (t *TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("the ca of tls: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the ca of tls: %s has no certificate", t.CA)
		}
	}
	if t.Certificate != "" {
		certificate, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("the certificate of tls: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}

// servers are the embedded ones, which outlive configs that have the same.
var servers = caddy.NewUsagePool()

// embeddedServer is a NATS server in this process.
type embeddedServer struct {
	*server.Server
	key string
}

// Destruct ends the server with the last link that uses it.
func (s *embeddedServer) Destruct() error {
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// embed returns the server, which runs already if a link of the process has the same. Release it by its key.
func embed(s settings, logger *zap.Logger) (*embeddedServer, error) {
	encoded, err := json.Marshal([]any{s.Embedded, s.Secret, s.Subject})
	if err != nil {
		return nil, err
	}
	loaded, _, err := servers.LoadOrNew(string(encoded), func() (caddy.Destructor, error) {
		options, err := s.serverOptions()
		if err != nil {
			return nil, err
		}
		natsServer, err := server.NewServer(options)
		if err != nil {
			return nil, fmt.Errorf("embedded: %w", err)
		}
		natsServer.SetLogger(&natsLogger{logger: logger.Named("nats"), logged: make(map[string]time.Time)}, false, false)
		natsServer.Start()
		return &embeddedServer{natsServer, string(encoded)}, nil
	})
	if err != nil {
		return nil, err
	}
	return loaded.(*embeddedServer), nil
}

// noPort is where the server does not listen for clients. With DontListen it would not listen for other servers
// either: it opens the port for those once it has tried to open the one for clients (Server.Start, v2.15).
const noPort = 1 << 16

// routeRetries is how often the server tries to connect again to one that it has learnt of from another, once a second:
// NATS tries once by default, and the two would not find each other when the network between them is back.
const routeRetries = 1 << 18

func (s settings) serverOptions() (*server.Options, error) {
	e := s.Embedded
	// Servers of one name would connect again and again, and nodes of one name not know of each other.
	options := &server.Options{ServerName: token(s.Node) + "-" + processID, Host: "127.0.0.1", Port: noPort, NoSigs: true, NoLog: true, MaxPayload: maxPayload, Username: natsUser, Password: derive(s.Secret, "client")}
	var err error
	if e.Listen != "" {
		if options.Host, options.Port, err = splitAddress("embedded", e.Listen); err != nil {
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
	if options.Cluster.Host, options.Cluster.Port, err = splitAddress("cluster", e.Cluster); err != nil {
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

// splitAddress returns host and port of an address that is free to listen on.
func splitAddress(what, address string) (host string, port int, err error) {
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", 0, fmt.Errorf("%s: %w: free the address or write another one; if the running config has it with other settings of the embedded server, restart Caddy", what, err)
	} else if err != nil {
		return "", 0, fmt.Errorf("%s: %w: write an address of this machine", what, err)
	}
	defer listener.Close()
	host, text, _ := net.SplitHostPort(address)
	port, err = strconv.Atoi(text)
	return host, port, err
}

// natsLogger logs what an embedded server says, and what is alike once a minute: it may try in vain each second.
type natsLogger struct {
	logger *zap.Logger

	mu     sync.Mutex
	logged map[string]time.Time // when, by format
}

func (l *natsLogger) isNew(format string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.logged[format]) < time.Minute {
		return false
	}
	l.logged[format] = time.Now()
	return true
}

func (l *natsLogger) Errorf(format string, v ...any) {
	if text := fmt.Sprintf(format, v...); l.isNew(format) {
		l.logger.Error("the embedded NATS server reports an error", zap.String("error", text), zap.String("hint", "if it is about authentication or authorization, give all nodes the same secret"))
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
		l.Errorf(format, v...)
	}
}

func (l *natsLogger) Noticef(format string, v ...any) { l.logger.Sugar().Debugf(format, v...) }
func (l *natsLogger) Debugf(string, ...any)           {}
func (l *natsLogger) Tracef(string, ...any)           {}
