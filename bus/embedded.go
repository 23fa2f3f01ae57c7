package bus

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

// embedded is a NATS server in this process.
type embedded struct {
	ns            *server.Server
	internalToken string
	listening     bool
}

func startEmbedded(opts Options) (*embedded, error) {
	token := make([]byte, 32)
	if _, err := rand.Read(token); err != nil {
		return nil, fmt.Errorf("make nats token: %w", err)
	}
	e := &embedded{internalToken: hex.EncodeToString(token), listening: opts.Listen != ""}
	so := &server.Options{
		ServerName:                 "anling",
		NoSigs:                     true, // else the server ends the process on SIGINT
		NoLog:                      true,
		JetStream:                  true,
		StoreDir:                   opts.StoreDir,
		SyncAlways:                 true,
		JetStreamMaxStore:          opts.MaxStore,
		JetStreamMaxMemory:         64 << 20,
		MaxPayload:                 256 << 10,
		MaxPending:                 8 << 20, // a slow app is cut off, not buffered without end
		WriteDeadline:              3 * time.Second,
		AuthTimeout:                2,
		MaxConn:                    2000,
		DontListen:                 opts.Listen == "",
		CustomClientAuthentication: &gate{internal: e.internalToken, signer: opts.Signer},
	}
	if opts.Listen != "" {
		if err := setListen(so, opts.Listen); err != nil {
			return nil, err
		}
	}
	ns, err := server.NewServer(so)
	if err != nil {
		return nil, fmt.Errorf("start nats server: %w", err)
	}
	ns.SetLoggerV2(zapLogger{opts.Log.Sugar()}, false, false, false)
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		ns.Shutdown()
		return nil, errors.New("nats server is not ready after 10 s (is its port in use?)")
	}
	e.ns = ns
	return e, nil
}

func setListen(so *server.Options, listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("nats listen address %q: %w", listen, err)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("nats listen address %q: port must be 0 to 65535", listen)
	}
	so.Host, so.Port = host, n
	if n == 0 {
		so.Port = server.RANDOM_PORT
	}
	// The server would go on without its listener; say so at once instead.
	probe, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("nats listen: %w", err)
	}
	return probe.Close()
}

func (e *embedded) addr() string {
	if !e.listening || e.ns.Addr() == nil {
		return ""
	}
	return e.ns.Addr().String()
}

func (e *embedded) stop() {
	e.ns.Shutdown()
	done := make(chan struct{})
	go func() { e.ns.WaitForShutdown(); close(done) }()
	select {
	case <-done:
	case <-time.After(8 * time.Second):
	}
}

// zapLogger adapts the server's logger. Its errors are mostly those of clients, which
// must not be able to fill a disk: warnings are thinned out.
type zapLogger struct{ s *zap.SugaredLogger }

func (l zapLogger) Noticef(f string, v ...any) { l.s.Debugf(f, v...) }
func (l zapLogger) Warnf(f string, v ...any)   { l.s.Warnf(f, v...) }
func (l zapLogger) Fatalf(f string, v ...any)  { l.s.Errorf(f, v...) }
func (l zapLogger) Errorf(f string, v ...any)  { l.s.Warnf(f, v...) }
func (l zapLogger) Debugf(f string, v ...any)  { l.s.Debugf(f, v...) }
func (l zapLogger) Tracef(f string, v ...any)  { l.s.Debugf(f, v...) }
