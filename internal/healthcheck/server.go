package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server serves pages on one address.
type Server struct {
	Name     string // in messages: health, metrics
	Addr     string // IP address and port; an unspecified address serves both families
	Handler  http.Handler
	HardFail bool // return an error if the address cannot be bound, instead of retrying
	Logf     func(format string, args ...any)

	pause time.Duration // between retries; zero: 5 s, as in kube-proxy
}

// Run serves until ctx is done, then returns nil.
func (s Server) Run(ctx context.Context) error {
	if s.pause == 0 {
		s.pause = 5 * time.Second
	}
	var last string
	for ctx.Err() == nil {
		err := s.serve(ctx)
		if err == nil {
			return nil
		}
		if s.HardFail {
			return err
		}
		if err.Error() != last {
			last = err.Error()
			s.Logf("%v; retrying every %v", err, s.pause)
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.pause):
		}
	}
	return nil
}

func (s Server) serve(ctx context.Context) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", s.Addr)
	if err != nil {
		return fmt.Errorf("serving %s on %s: %w", s.Name, s.Addr, err)
	}
	server := bounded(named(s.Handler))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(newBound(mostConnections).on(listener)) }()
	select {
	case err = <-ended:
		return fmt.Errorf("serving %s on %s: %w", s.Name, s.Addr, err)
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(patience) != nil {
		_ = server.Close() // a profile is running; do not wait for it
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s on %s: %w", s.Name, s.Addr, err)
	}
	return nil
}
