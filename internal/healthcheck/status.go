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

// component is the program in /statusz and /flagz.
const component = "signpost-forwarder"

// heading stands above both pages, as above those of Kubernetes' components.
const heading = "\n" + component + " %s\nWarning: this page is for people, and its form may change.\n"

// Status is what /statusz says of the process.
type Status struct {
	Started time.Time
	Version string
}

// text is the page, in the form that Kubernetes' components have.
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

// uptime prints a duration as 3 hr 04 min 05 sec.
func uptime(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d hr %02d min %02d sec", s/3600, s/60%60, s%60)
}

// flagz is the page of that name: a line for each flag, in the form that Kubernetes' components have.
func flagz(flags map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, heading, "flagz")
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		fmt.Fprintf(&b, "%s: %s\n", name, flags[name])
	}
	return b.String()
}

// listing is a mux that knows its paths.
type listing struct {
	*http.ServeMux
	paths []string
}

// HandleFunc is that of the mux.
func (l *listing) HandleFunc(path string, f func(http.ResponseWriter, *http.Request)) {
	l.Handle(path, http.HandlerFunc(f))
}

// Handle is that of the mux.
func (l *listing) Handle(path string, h http.Handler) {
	l.paths = append(l.paths, path)
	l.ServeMux.Handle(path, h)
}
