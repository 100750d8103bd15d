package test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/signpost-dns/signpost/test/apiserver"
)

// TestNamespacedRights: with the component, the account of CoreDNS has rights in one
// namespace only.
func TestNamespacedRights(t *testing.T) {
	for _, base := range []string{"FRESH", "KUBEADM"} {
		for name, o := range render(t, overlay(t, "resources: ["+base+"]\ncomponents: [NAMESPACED]\n")) {
			switch o := o.(type) {
			case *rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding:
				if strings.Contains(name, "coredns") {
					t.Errorf("%s: %s is still there", base, name)
				}
			case *rbacv1.Role:
				if o.Namespace != "default" {
					t.Errorf("%s: %s is in %s", base, name, o.Namespace)
				}
			}
		}
	}
}

// TestRealNamespaces runs our plugin with the rights that the component grants: no
// ClusterRole at all. The real authorizer says whether they are enough.
func TestRealNamespaces(t *testing.T) {
	t.Parallel()
	binary, api := buildCoreDNS(t), apiserver.Start(t)
	api.Kubectl(t, "apply", "-k", overlay(t, "resources: [FRESH]\ncomponents: [NAMESPACED]\n"))
	api.Kubectl(t, "create", "namespace", "other")
	api.Kubectl(t, "--namespace=other", "create", "service", "clusterip", "web", "--tcp=80")
	config := "kubeconfig " + api.ServiceAccountKubeconfig(t, "kube-system", "coredns")

	named := startCoreDNS(t, binary, "one namespace", corefile{"signpost", config + "\nnamespaces default"})
	wide := startCoreDNS(t, binary, "all namespaces", corefile{"signpost", config})
	both := startCoreDNS(t, binary, "one too many", corefile{"signpost", config + "\nnamespaces default other"})

	converge(t, []*coredns{named}, []question{
		{"kubernetes.default.svc", dns.TypeA, "NOERROR; A 10.96.0.1"},
		{"_https._tcp.kubernetes.default.svc", dns.TypeSRV, "NOERROR; SRV 443 kubernetes.default.svc.cluster.local."},
		{"1.0.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR; PTR kubernetes.default.svc.cluster.local."},
		{"gone.default.svc", dns.TypeA, "NXDOMAIN"},
		{"default.svc", dns.TypeA, "NOERROR"},
		{"web.other.svc", dns.TypeA, "NXDOMAIN"},
		{"other.svc", dns.TypeA, "NXDOMAIN"},
		// `bind`: of no Service that it could see, so it names itself.
		{"cluster.local.", dns.TypeNS, "NOERROR; NS ns.dns.cluster.local."},
	})
	readiness(t, []*coredns{named}, http.StatusOK)

	converge(t, []*coredns{wide, both}, []question{{"kubernetes.default.svc", dns.TypeA, "SERVFAIL"}})
	readiness(t, []*coredns{wide, both}, http.StatusServiceUnavailable)
	poll(t, []*coredns{both}, func() (found []string) {
		if want := "watching services in the namespace other: "; !strings.Contains(both.Tail(), want) || !strings.Contains(both.Tail(), "want a Role there") {
			found = append(found, fmt.Sprintf("it does not log %q and what is wanted", want))
		}
		return found
	})

	// A Role in the second namespace is all that is missing; then its Services change as they do.
	api.Kubectl(t, "--namespace=other", "create", "role", "coredns", "--verb=list,watch", "--resource=services,endpointslices.discovery.k8s.io")
	api.Kubectl(t, "--namespace=other", "create", "rolebinding", "coredns", "--role=coredns", "--serviceaccount=kube-system:coredns")
	ip := api.Kubectl(t, "--namespace=other", "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	converge(t, []*coredns{both}, []question{{"web.other.svc", dns.TypeA, "NOERROR; A " + ip}})
	readiness(t, []*coredns{both}, http.StatusOK)
	api.Kubectl(t, "--namespace=other", "delete", "service", "web")
	converge(t, []*coredns{both}, []question{{"web.other.svc", dns.TypeA, "NXDOMAIN"}})
}
