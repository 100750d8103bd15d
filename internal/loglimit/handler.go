package loglimit

import (
	"context"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"
)

// Handler is a slog.Handler that passes lines through a Gate. The cause of a line is its
// message, unless the context has a cause (WithCause). The namespace comes from the
// attribute "service" or "object".
type Handler struct {
	next        slog.Handler
	gate, debug *Gate
}

var _ slog.Handler = (*Handler)(nil)

// NewHandler returns a Handler that passes lines on to next.
func NewHandler(next slog.Handler) *Handler {
	report := func(l Left) {
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines dropped: too many of one cause", 0)
		r.AddAttrs(slog.Int("lines", l.Lines), slog.String("cause", l.Cause))
		_ = next.Handle(context.Background(), r)
	}
	return &Handler{next: next, gate: NewGate(report), debug: newGate(debugTimes, report)}
}

type causeKey struct{}

// WithCause sets the cause of lines whose message varies.
func WithCause(ctx context.Context, cause string) context.Context {
	return context.WithValue(ctx, causeKey{}, cause)
}

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	cause := r.Message
	if named, ok := ctx.Value(causeKey{}).(string); ok {
		cause = named
	}
	namespace := ""
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "service" || a.Key == "object" {
			namespace, _, _ = strings.Cut(a.Value.String(), "/")
		}
		return namespace == ""
	})
	gate := h.gate
	if r.Level < slog.LevelInfo {
		gate = h.debug
	}
	if !gate.Pass(cause, namespace) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{next: h.next.WithAttrs(attrs), gate: h.gate, debug: h.debug}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{next: h.next.WithGroup(name), gate: h.gate, debug: h.debug}
}

// longestValue limits the bytes of one value in a line.
const longestValue = 2048

// Shorten is a ReplaceAttr for slog.HandlerOptions that truncates long values.
func Shorten(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString, slog.KindAny:
		if text := a.Value.String(); len(text) > longestValue {
			a.Value = slog.StringValue(Cut(text, longestValue))
		}
	}
	return a
}

// Cut truncates a text to at most this many bytes, at a character boundary, and marks the
// cut.
func Cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	text = text[:most-len("…")]
	for len(text) > 0 && !utf8.RuneStart(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	if r, size := utf8.DecodeLastRuneInString(text); r == utf8.RuneError && size <= 1 {
		text = text[:max(0, len(text)-1)]
	}
	return text + "…"
}
