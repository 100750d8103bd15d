package test

import (
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/signpost-dns/signpost/test/apiserver"
)

// The life of the namespace shop of testdata/real: what is asked after each step, and the steps.

var beforeShop = []question{
	{"kubernetes.default.svc", dns.TypeA, "NOERROR; A 10.96.0.1"},
	{"_https._tcp.kubernetes.default.svc", dns.TypeSRV, "NOERROR; SRV 443 kubernetes.default.svc.cluster.local."},
	{"kube-dns.kube-system.svc", dns.TypeA, "NOERROR; A 10.96.0.10"},
	{"10.0.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR; PTR kube-dns.kube-system.svc.cluster.local."},
	{"dns-version", dns.TypeTXT, `NOERROR; TXT "1.1.0"`},
	{"shop.svc", dns.TypeA, "NXDOMAIN"},
	{"web.shop.svc", dns.TypeA, "NXDOMAIN"},
	{"10-1-2-3.shop.pod", dns.TypeA, "NXDOMAIN"},
}

var shop = []question{
	{"shop.svc", dns.TypeA, "NOERROR"},
	{"10-1-2-3.shop.pod", dns.TypeA, "NOERROR; A 10.1.2.3"},
	{"web.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.1"},
	{"WEB.Shop.sVc", dns.TypeA, "NOERROR; A 10.96.7.1"},
	{"web.shop.svc", dns.TypeAAAA, "NOERROR"},
	{"nope.shop.svc", dns.TypeA, "NXDOMAIN"},
	{"_http._tcp.web.shop.svc", dns.TypeSRV, "NOERROR; SRV 80 web.shop.svc.cluster.local."},
	{"_http._udp.web.shop.svc", dns.TypeSRV, "NXDOMAIN"},
	{"1.7.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR; PTR web.shop.svc.cluster.local."},
	{"99.7.96.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},

	{"_dns._udp.multi.shop.svc", dns.TypeSRV, "NOERROR; SRV 53 multi.shop.svc.cluster.local."},
	{"_dns-tcp._tcp.multi.shop.svc", dns.TypeSRV, "NOERROR; SRV 53 multi.shop.svc.cluster.local."},
	{"_metrics._tcp.multi.shop.svc", dns.TypeSRV, "NOERROR; SRV 9153 multi.shop.svc.cluster.local."},
	{"_dns._tcp.multi.shop.svc", dns.TypeSRV, "NXDOMAIN"},

	{"dual.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.3"},
	{"dual.shop.svc", dns.TypeAAAA, "NOERROR; AAAA fd00:10:96::73"},
	{"_https._tcp.dual.shop.svc", dns.TypeSRV, "NOERROR; SRV 443 dual.shop.svc.cluster.local."},
	{reverse("fd00:10:96::73"), dns.TypePTR, "NOERROR; PTR dual.shop.svc.cluster.local."},
	{"six.shop.svc", dns.TypeA, "NOERROR"},
	{"six.shop.svc", dns.TypeAAAA, "NOERROR; AAAA fd00:10:96::74"},

	{"db.shop.svc", dns.TypeA, "NOERROR; A 10.244.3.12; A 10.244.2.11; A 10.244.1.10"},
	{"db.shop.svc", dns.TypeAAAA, "NOERROR; AAAA fd00:10:244:1::10"},
	{"_pg._tcp.db.shop.svc", dns.TypeSRV, "NOERROR; SRV 5432 db-1.db.shop.svc.cluster.local.; SRV 5432 db-0.db.shop.svc.cluster.local.; SRV 5432 10-244-3-12.db.shop.svc.cluster.local."},
	{"db-0.db.shop.svc", dns.TypeA, "NOERROR; A 10.244.1.10"},
	{"db-0.db.shop.svc", dns.TypeAAAA, "NOERROR; AAAA fd00:10:244:1::10"},
	{"10-244-3-12.db.shop.svc", dns.TypeA, "NOERROR; A 10.244.3.12"},
	{"db-3.db.shop.svc", dns.TypeA, "NXDOMAIN"}, // not ready
	{reverse("10.244.2.11"), dns.TypePTR, "NOERROR; PTR db-1.db.shop.svc.cluster.local."},
	{reverse("10.244.3.12"), dns.TypePTR, "NOERROR; PTR 10-244-3-12.db.shop.svc.cluster.local."},

	{"docs.shop.svc", dns.TypeA, "NOERROR; CNAME docs.example.org.; A 192.0.2.80"},
	{"docs.shop.svc", dns.TypeCNAME, "NOERROR; CNAME docs.example.org."},
	{"alias.shop.svc", dns.TypeA, "NOERROR; CNAME web.shop.svc.cluster.local.; A 10.96.7.1"},
}

// changeShop changes objects in place.
func changeShop(t *testing.T, client *kubernetes.Clientset) {
	t.Helper()
	updateService(t, client, "web", func(s *corev1.Service) {
		s.Spec.Ports[0].Port = 8080
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "admin", Port: 8443, TargetPort: intstr.FromInt32(8443)})
	})
	updateService(t, client, "docs", func(s *corev1.Service) { s.Spec.ExternalName = "manual.example.org" })
	updateService(t, client, "alias", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName, s.Spec.ClusterIP = corev1.ServiceTypeClusterIP, "", "10.96.7.9"
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	})
	slices := client.DiscoveryV1().EndpointSlices("shop")
	slice, err := slices.Get(t.Context(), "db-4", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// db-1 goes, db-3 gets ready, db-9 comes.
	slice.Endpoints = append(slice.Endpoints[:1], slice.Endpoints[2:]...)
	slice.Endpoints[2].Conditions.Ready = new(true)
	slice.Endpoints = append(slice.Endpoints, endpoint("10.244.9.19", "db-9"))
	if _, err := slices.Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

var changedShop = []question{
	{"web.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.1"},
	{"_http._tcp.web.shop.svc", dns.TypeSRV, "NOERROR; SRV 8080 web.shop.svc.cluster.local."},
	{"_admin._tcp.web.shop.svc", dns.TypeSRV, "NOERROR; SRV 8443 web.shop.svc.cluster.local."},
	{"docs.shop.svc", dns.TypeA, "NOERROR; CNAME manual.example.org.; A 192.0.2.80"},
	{"alias.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.9"},
	{"alias.shop.svc", dns.TypeCNAME, "NOERROR"},
	{"9.7.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR; PTR alias.shop.svc.cluster.local."},
	{"db.shop.svc", dns.TypeA, "NOERROR; A 10.244.9.19; A 10.244.4.13; A 10.244.3.12; A 10.244.1.10"},
	{"db-1.db.shop.svc", dns.TypeA, "NXDOMAIN"},
	{"db-3.db.shop.svc", dns.TypeA, "NOERROR; A 10.244.4.13"},
	{"db-9.db.shop.svc", dns.TypeA, "NOERROR; A 10.244.9.19"},
	{reverse("10.244.2.11"), dns.TypePTR, "NXDOMAIN"},
	{reverse("10.244.9.19"), dns.TypePTR, "NOERROR; PTR db-9.db.shop.svc.cluster.local."},
	{"multi.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.2"}, // as it was
}

// recreateInShop replaces objects by others of the same name and another kind.
func recreateInShop(t *testing.T, client *kubernetes.Clientset) {
	t.Helper()
	services := client.CoreV1().Services("shop")
	for _, svc := range []*corev1.Service{
		{ // was a ClusterIP
			ObjectMeta: metav1.ObjectMeta{Name: "multi"},
			Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: "metrics", Port: 9153}}},
		},
		{ // was headless; its slices stay
			ObjectMeta: metav1.ObjectMeta{Name: "db"},
			Spec:       corev1.ServiceSpec{ClusterIP: "10.96.7.5", Ports: []corev1.ServicePort{{Name: "pg", Port: 5432}}},
		},
	} {
		if err := services.Delete(t.Context(), svc.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := services.Create(t.Context(), svc, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.DiscoveryV1().EndpointSlices("shop").Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "multi-1", Labels: map[string]string{discoveryv1.LabelServiceName: "multi"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("metrics"), Port: new(int32(9999)), Protocol: new(corev1.ProtocolTCP)}},
		Endpoints:   []discoveryv1.Endpoint{endpoint("10.244.5.5", "multi-0")},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

var recreatedShop = []question{
	{"multi.shop.svc", dns.TypeA, "NOERROR; A 10.244.5.5"},
	{"_metrics._tcp.multi.shop.svc", dns.TypeSRV, "NOERROR; SRV 9999 multi-0.multi.shop.svc.cluster.local."},
	{"_dns._udp.multi.shop.svc", dns.TypeSRV, "NXDOMAIN"},
	{"2.7.96.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
	{"db.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.5"},
	{"db.shop.svc", dns.TypeAAAA, "NOERROR"},
	{"_pg._tcp.db.shop.svc", dns.TypeSRV, "NOERROR; SRV 5432 db.shop.svc.cluster.local."},
	{"5.7.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR; PTR db.shop.svc.cluster.local."},
	{"web.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.1"},
}

// deleteShop deletes what is in the namespace, then the namespace. There is no namespace controller behind
// this API server: the test takes its last step, too.
func deleteShop(t *testing.T, api *apiserver.Server, client *kubernetes.Clientset) {
	t.Helper()
	api.Kubectl(t, "delete", "--namespace=shop", "services,endpointslices", "--all")
	namespaces := client.CoreV1().Namespaces()
	if err := namespaces.Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ns, err := namespaces.Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ns.Spec.Finalizers = nil
	if _, err := namespaces.Finalize(t.Context(), ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

var afterShop = append([]question{
	{"db.shop.svc", dns.TypeA, "NXDOMAIN"},
	{"multi-0.multi.shop.svc", dns.TypeA, "NXDOMAIN"},
	{"docs.shop.svc", dns.TypeCNAME, "NXDOMAIN"},
	{"1.7.96.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
	{reverse("10.244.5.5"), dns.TypePTR, "NXDOMAIN"},
	{reverse("fd00:10:96::73"), dns.TypePTR, "NXDOMAIN"},
}, beforeShop...)

func updateService(t *testing.T, client *kubernetes.Clientset, name string, change func(*corev1.Service)) {
	t.Helper()
	services := client.CoreV1().Services("shop")
	svc, err := services.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	change(svc)
	if _, err := services.Update(t.Context(), svc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func endpoint(address, hostname string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{address}, Hostname: &hostname, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}
}

// reverse returns the name under which an address has its PTR record.
func reverse(address string) string {
	name, err := dns.ReverseAddr(address)
	if err != nil {
		panic(err)
	}
	return name
}
