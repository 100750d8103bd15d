// Package healthcheck serves the pages that load balancers, kubelets, Prometheus and
// people ask a node's proxy for: /healthz and /livez on one port, /metrics, /proxyMode,
// /healthz, /configz and /debug/table on the other, with kube-proxy's bodies and codes.
//
// It knows when rules were wanted and when they were written, and HTTP. It must not
// know rules, Services or where metrics come from: those are handed in.
package healthcheck
