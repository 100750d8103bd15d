package main

import (
	"bytes"
	"encoding/json"
	"errors"
	stdlog "log"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"

	"github.com/signpost-dns/signpost/internal/config"
)

// Whatever library writes a line, it has the form that the user configured.
func TestLinesOfLibraries(t *testing.T) {
	level, before := logrus.GetLevel(), slog.Default()
	t.Cleanup(func() {
		logrus.SetLevel(level)
		slog.SetDefault(before)
		stdlog.SetOutput(os.Stderr)
		klog.ClearLogger()
	})
	c, err := config.Load([]string{"--logging-format=json"})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	newLog(c, &out)
	for _, l := range []struct {
		name, level, message string
		write                func()
	}{
		{"klog", "ERROR", "a watch ended", func() { klog.Error("a watch ended") }},
		{"klog with values", "ERROR", "a token", func() { klog.ErrorS(errors.New("expired"), "a token", "file", "x") }},
		{"klog's details", "", "", func() { klog.Background().V(6).Info("a request") }},
		{"a handler of errors", "ERROR", "Unhandled Error", func() { runtime.HandleError(errors.New("unexpected")) }},
		{"logrus", "", "", func() { logrus.Error("no family") }},
		{"a warning of logrus", "", "", func() { logrus.SetLevel(logrus.WarnLevel); logrus.Warn("no modprobe") }},
		{"package log", "WARN", "http: Accept error", func() { stdlog.Print("http: Accept error") }},
	} {
		t.Run(l.name, func(t *testing.T) {
			out.Reset()
			l.write()
			if l.level == "" {
				if out.Len() > 0 {
					t.Errorf("wrote %s", &out)
				}
				return
			}
			var line struct{ Time, Level, Msg string }
			if err := json.Unmarshal(out.Bytes(), &line); err != nil {
				t.Fatalf("%v: %s", err, &out)
			}
			if line.Level != l.level || !strings.Contains(line.Msg, l.message) {
				t.Errorf("got %s, want level %s and %q", &out, l.level, l.message)
			}
		})
	}
	out.Reset()
	for i := range 1000 {
		klog.Errorf("attempt %d failed", i)
	}
	if n := strings.Count(out.String(), "\n"); n > 100 {
		t.Errorf("%d lines of 1,000 alike, want at most 100", n)
	}
}
