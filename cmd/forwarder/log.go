package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"

	"github.com/signpost-dns/signpost/internal/agent"
	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/loglimit"
	"github.com/signpost-dns/signpost/internal/source"
)

// verbose is the level of -v from which on all is logged that happens to a Service.
const verbose = 4

// newLog returns the log of the process. Its libraries write to it, too.
func newLog(c *config.Config, to io.Writer) *slog.Logger {
	log := slog.New(loglimit.NewHandler(logHandler(c, to)))
	takeOverLibraries(log)
	return log
}

func logHandler(c *config.Config, to io.Writer) slog.Handler {
	o := slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: loglimit.Shorten}
	if c.Wire.Logging.Verbosity >= verbose {
		o.Level = slog.LevelDebug
	}
	if c.Wire.Logging.Format == "json" {
		return slog.NewJSONHandler(to, &o)
	}
	return slog.NewTextHandler(to, &o)
}

// takeOverLibraries gives the lines of libraries the form of ours: those of Kubernetes' by klog, that for IPVS
// by logrus, and net/http by package log.
func takeOverLibraries(to *slog.Logger) {
	log := slog.New(libraryHandler{to.Handler()})
	klog.StopFlushDaemon() // it reads what the next line sets, and there are no files
	klog.SetSlogLogger(log)
	slog.SetLogLoggerLevel(slog.LevelWarn)
	slog.SetDefault(log)
	logrus.SetOutput(io.Discard)
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(logrusHook{log})
}

// libraryHandler counts all lines of libraries as one cause: parts of their messages change.
type libraryHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h libraryHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.Handler.Handle(loglimit.WithCause(ctx, "a library"), r)
}

// WithAttrs implements slog.Handler.
func (h libraryHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return libraryHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h libraryHandler) WithGroup(name string) slog.Handler {
	return libraryHandler{h.Handler.WithGroup(name)}
}

// logrusHook passes on lines of logrus as details. Only the library for IPVS writes such: that modprobe failed, also where
// the kernel loads the module by itself, and that there is no IPVS, which our error says, too.
type logrusHook struct{ log *slog.Logger }

// Levels implements logrus.Hook.
func (logrusHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (h logrusHook) Fire(e *logrus.Entry) error {
	h.log.Debug(e.Message)
	return nil
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
