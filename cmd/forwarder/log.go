package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/source"
)

// verbose is the level of -v from which on all is logged that happens to a Service.
const verbose = 4

func newLog(c *config.Config, to io.Writer) *slog.Logger {
	o := slog.HandlerOptions{Level: slog.LevelInfo}
	if c.Wire.Logging.Verbosity >= verbose {
		o.Level = slog.LevelDebug
	}
	if c.Wire.Logging.Format == "json" {
		return slog.New(slog.NewJSONHandler(to, &o))
	}
	return slog.New(slog.NewTextHandler(to, &o))
}

// logf is how sources log.
func logf(log *slog.Logger) func(level, format string, args ...any) {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError,
	}
	return func(level, format string, args ...any) {
		log.Log(context.Background(), levels[level], fmt.Sprintf(format, args...))
	}
}

// report logs what of an object cannot be used.
func report(log *slog.Logger) func(source.Problem) {
	return func(p source.Problem) { log.Warn("an object is not used as it stands", "problem", p.String()) }
}
