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

// verbose is the level of -v from which changes of each Service are logged.
const verbose = 4

// newLog returns the log of the process and redirects libraries to it.
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

// takeOverLibraries redirects the logs of libraries: klog of Kubernetes, logrus of the IPVS library, and
// package log of net/http.
func takeOverLibraries(to *slog.Logger) {
	log := slog.New(libraryHandler{to.Handler()})
	klog.StopFlushDaemon() // it races with the next line, and there are no log files
	klog.SetSlogLogger(log)
	slog.SetLogLoggerLevel(slog.LevelWarn)
	slog.SetDefault(log)
	logrus.SetOutput(io.Discard)
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(logrusHook{log})
}

// libraryHandler counts all lines of libraries as one cause, because their messages vary.
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

// logrusHook logs lines of logrus at level debug. Only the IPVS library writes such lines: that modprobe failed, even if
// the kernel loads the module itself, and that IPVS is missing, which our own error reports as well.
type logrusHook struct{ log *slog.Logger }

// Levels implements logrus.Hook.
func (logrusHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (h logrusHook) Fire(e *logrus.Entry) error {
	h.log.Debug(e.Message)
	return nil
}

// longestLine limits the bytes of a logged line of a source.
const longestLine = 2048

// logf returns the log function for sources.
func logf(log *slog.Logger) func(level, format string, args ...any) {
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError,
	}
	return func(level, format string, args ...any) {
		text := loglimit.Cut(fmt.Sprintf(format, args...), longestLine)
		log.Log(loglimit.WithCause(context.Background(), format), levels[level], text)
	}
}

// report counts and logs problems of objects, and writes an Event for a Service. events and
// count may be nil.
func report(log *slog.Logger, events agent.Events, count *prometheus.CounterVec) func(source.Problem) {
	return func(p source.Problem) {
		if count != nil {
			count.WithLabelValues(p.Ref.Kind.String()).Inc()
		}
		log.Warn("object not fully usable", "object", p.Ref.Key.String(), "problem", p.String())
		if events != nil && p.Ref.Kind == cluster.KindService && p.Ref != (cluster.Ref{}) {
			events.Event(p.Ref.Key, "FieldIgnored", p.String())
		}
	}
}
