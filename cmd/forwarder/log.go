package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/agent"
	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/loglimit"
	"github.com/signpost-dns/signpost/internal/source"
)

// verbose is the level of -v from which on all is logged that happens to a Service.
const verbose = 4

func newLog(c *config.Config, to io.Writer) *slog.Logger {
	o := slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: loglimit.Shorten}
	if c.Wire.Logging.Verbosity >= verbose {
		o.Level = slog.LevelDebug
	}
	if c.Wire.Logging.Format == "json" {
		return slog.New(loglimit.NewHandler(slog.NewJSONHandler(to, &o)))
	}
	return slog.New(loglimit.NewHandler(slog.NewTextHandler(to, &o)))
}

// longestLine is how many bytes of a text of a source are logged.
const longestLine = 2048

// logf is how sources log.
func logf(log *slog.Logger) func(level, format string, args ...any) {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError,
	}
	return func(level, format string, args ...any) {
		text := loglimit.Cut(fmt.Sprintf(format, args...), longestLine)
		log.Log(loglimit.WithCause(context.Background(), format), levels[level], text)
	}
}

// report counts and logs what of an object cannot be used, and writes an Event if it is a
// Service. events and count may be nil.
func report(log *slog.Logger, events agent.Events, count *prometheus.CounterVec) func(source.Problem) {
	return func(p source.Problem) {
		if count != nil {
			count.WithLabelValues(p.Ref.Kind.String()).Inc()
		}
		log.Warn("an object is not used as it stands", "object", p.Ref.Key.String(), "problem", p.String())
		if events != nil && p.Ref.Kind == cluster.KindService && p.Ref != (cluster.Ref{}) {
			events.Event(p.Ref.Key, "FieldIgnored", p.String())
		}
	}
}
