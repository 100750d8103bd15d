package healthcheck

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/pprof"
	"time"
)

// Probes serves the pages for load balancers and kubelets.
type Probes struct {
	Health *Health
	// Eligible reports whether the node should get new connections from outside. It is
	// false if the node is about to be deleted (KEP-3836). It is called for each /healthz.
	Eligible func() bool
	// Answered is called with the page, without its slash, and the status code of each response.
	Answered func(page string, code int)
}

// Handler serves /healthz, /livez and /readyz. /healthz reports whether a load balancer should
// send traffic here: the kernel has rules, they follow changes, and the node is not about to be
// deleted. /livez reports whether the process works or should be restarted. /readyz reports
// whether it has written the rules of this node, so that a rollout may continue. The latter two ignore the deletion of the node.
func (p Probes) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		r, eligible := p.Health.report(routes), p.Eligible()
		r.NodeEligible = &eligible
		p.answer(w, "healthz", r, r.Healthy && eligible)
	})
	mux.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) {
		r := p.Health.report(alive)
		p.answer(w, "livez", r, r.Healthy)
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := p.Health.report(ready)
		p.answer(w, "readyz", r, r.Healthy)
	})
	return mux
}

func (p Probes) answer(w http.ResponseWriter, page string, r report, good bool) {
	code := http.StatusServiceUnavailable
	if good {
		code = http.StatusOK
		// Users of this field expect the time of the last check, not of the last change.
		r.LastUpdated = r.CurrentTime
	}
	p.Answered(page, code)
	body, _ := json.Marshal(r) // cannot fail: times and bools
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(body) // an error means that the client has gone
}

// Pages serves the pages for Prometheus and operators.
type Pages struct {
	Mode      string            // of /proxyMode, such as nftables
	Metrics   http.Handler      // of /metrics
	Config    func() any        // of /configz: the active configuration, encoded as JSON
	Table     func() string     // of /debug/table: one line per frontend
	Status    Status            // of /statusz
	Flags     map[string]string // of /flagz: the value of each flag
	Profiling bool              // serve /debug/pprof
}

// configName is the key of the configuration in /configz.
const configName = "kubeproxy.config.k8s.io"

// Handler serves the pages.
func (p Pages) Handler() http.Handler {
	mux := listing{ServeMux: http.NewServeMux()}
	mux.Handle("/metrics", p.Metrics)
	mux.HandleFunc("/healthz", text(func() string { return "ok" }))
	mux.HandleFunc("/proxyMode", text(func() string { return p.Mode }))
	mux.HandleFunc("/debug/table", text(p.Table))
	mux.HandleFunc("/flagz", text(func() string { return flagz(p.Flags) }))
	mux.HandleFunc("/configz", func(w http.ResponseWriter, _ *http.Request) {
		body, err := json.Marshal(map[string]any{configName: p.Config()})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(body)
	})
	if p.Profiling {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	mux.HandleFunc("/statusz", text(func() string { return p.Status.text(time.Now(), mux.paths) }))
	return mux.ServeMux
}

func text(f func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = io.WriteString(w, f())
	}
}
