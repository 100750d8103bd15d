// Package healthcheck serves a node proxy's pages for load balancers, kubelets, Prometheus and
// operators: /healthz and /livez on one port; /metrics, /proxyMode, /healthz, /configz,
// /statusz, /flagz and /debug/table on another; and the healthCheckNodePorts of Services. Bodies
// and status codes are those of kube-proxy.
//
// The package knows HTTP, and when rules were requested and written. It must not know rules or
// where metrics come from: callers pass those in. Of Services it knows what a vip.Route of
// Kind HealthCheck contains.
package healthcheck
