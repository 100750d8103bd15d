package healthcheck

import (
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"
)

// component is the name of the program on /statusz and /flagz.
const component = "signpost-forwarder"

// heading precedes both pages, as in Kubernetes' components.
const heading = "\n" + component + " %s\nWarning: this page is for people, and its form may change.\n"

// Status is the content of /statusz.
type Status struct {
	Started time.Time
	Version string
}

// text formats the page as Kubernetes' components do.
func (s Status) text(now time.Time, paths []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, heading+"\n", "statusz")
	for _, line := range [][2]string{
		{"Started", s.Started.Format(time.UnixDate)},
		{"Up", uptime(now.Sub(s.Started))},
		{"Go version", runtime.Version()},
		{"Binary version", s.Version},
		{"Paths", strings.Join(slices.Sorted(slices.Values(paths)), " ")},
	} {
		fmt.Fprintf(&b, "%s: %s\n", line[0], line[1])
	}
	return b.String()
}

// uptime formats a duration as 3 hr 04 min 05 sec.
func uptime(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d hr %02d min %02d sec", s/3600, s/60%60, s%60)
}

// flagz formats the page of that name: one line per flag, as in Kubernetes' components.
func flagz(flags map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, heading, "flagz")
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		fmt.Fprintf(&b, "%s: %s\n", name, flags[name])
	}
	return b.String()
}

// listing is a mux that records its paths.
type listing struct {
	*http.ServeMux
	paths []string
}

// HandleFunc registers a function for a path.
func (l *listing) HandleFunc(path string, f func(http.ResponseWriter, *http.Request)) {
	l.Handle(path, http.HandlerFunc(f))
}

// Handle registers a handler for a path.
func (l *listing) Handle(path string, h http.Handler) {
	l.paths = append(l.paths, path)
	l.ServeMux.Handle(path, h)
}
