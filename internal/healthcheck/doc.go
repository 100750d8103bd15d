// Package healthcheck serves the pages that load balancers, kubelets, Prometheus and
// people ask a node's proxy for: /healthz and /livez on one port, /metrics, /proxyMode,
// /healthz, /configz, /statusz, /flagz and /debug/table on the other, and healthCheckNodePorts, with
// kube-proxy's bodies and codes.
//
// It knows when rules were wanted and when they were written, and HTTP. It must not
// know rules or where metrics come from: those are handed in. Of Services it knows what a
// vip.Route of Kind HealthCheck says.
package healthcheck
