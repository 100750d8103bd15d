package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signpost-dns/signpost/test/apiserver"
)

// forwarderViolates is what the Pod Security Standard "restricted" forbids and the forwarder cannot do without: it
// routes in the node's own network, as root, and its init container sets the node's kernel parameters.
const forwarderViolates = `would violate PodSecurity "restricted:latest": ` +
	`host namespaces (hostNetwork=true), ` +
	`privileged (container "init" must not set securityContext.privileged=true), ` +
	`allowPrivilegeEscalation != false (container "init" must set securityContext.allowPrivilegeEscalation=false), ` +
	`unrestricted capabilities (container "init" must set securityContext.capabilities.drop=["ALL"]; ` +
	`container "forwarder" must not include "NET_ADMIN" in securityContext.capabilities.add), ` +
	`runAsNonRoot != true (pod or containers "init", "forwarder" must set securityContext.runAsNonRoot=true)`

// TestRealManifestsWithoutWarnings has the API server judge what `kubectl kustomize` renders, by a dry run that
// goes through validation and admission. kube-system warns of whatever the Pod Security Standard "restricted"
// forbids: no root, no privilege, no capability but NET_BIND_SERVICE. The DaemonSets are the exceptions: of ours each
// violation is named above, that of kubeadm is its own.
func TestRealManifestsWithoutWarnings(t *testing.T) {
	t.Parallel()
	api := apiserver.Start(t)
	dryRun := []string{"--dry-run=server", "--warnings-as-errors"}
	theirs, _ := kubeadmProxy()
	put(t, api, "create", theirs)
	api.Kubectl(t, "label", "namespace", "kube-system", "pod-security.kubernetes.io/warn=restricted")

	out, err := api.TryKubectl(t, append([]string{"create", "deployment", "careless", "--namespace=kube-system", "--image=careless"}, dryRun...)...)
	if err == nil || !strings.Contains(out, "would violate PodSecurity") {
		t.Fatalf("the API server does not warn of a Deployment without any security context, so nothing is checked here: %v\n%s", err, out)
	}
	// In this order: the overlay kubeadm changes a Deployment that is there, made by someone else than `apply`.
	for _, overlay := range []string{fresh, kubeadm} {
		t.Run(filepath.Base(overlay), func(t *testing.T) {
			strict, daemons := splitDaemonSets(t, api.Kubectl(t, "kustomize", overlay))
			out := api.Kubectl(t, append([]string{"apply", "--filename=" + strict}, dryRun...)...)
			if !strings.Contains(out, "deployment.apps/coredns ") {
				t.Errorf("no Deployment coredns in what was applied:\n%s", out)
			}
			out = api.Kubectl(t, "apply", "--dry-run=server", "--filename="+daemons)
			if overlay == kubeadm {
				if !strings.Contains(out, "daemonset.apps/kube-proxy ") {
					t.Errorf("no DaemonSet kube-proxy in what was applied:\n%s", out)
				}
				return
			}
			want := "Warning: " + forwarderViolates + "\ndaemonset.apps/signpost-forwarder created (server dry run)\n"
			if diff := cmp.Diff(want, out); diff != "" {
				t.Errorf("what the API server says to the forwarder (-want +got):\n%s", diff)
			}
			api.Kubectl(t, "create", "--warnings-as-errors", "--filename="+strict)
		})
	}
}

// splitDaemonSets writes what kustomize rendered into two files, the second with the DaemonSets.
func splitDaemonSets(t *testing.T, rendered string) (others, daemons string) {
	t.Helper()
	dir := t.TempDir()
	files := map[bool][]string{}
	for document := range strings.SplitSeq(rendered, "\n---\n") {
		is := strings.Contains("\n"+document, "\nkind: DaemonSet\n")
		files[is] = append(files[is], document)
	}
	if len(files[true]) != 1 {
		t.Fatalf("%d DaemonSets were rendered, want 1", len(files[true]))
	}
	others, daemons = filepath.Join(dir, "others.yaml"), filepath.Join(dir, "daemons.yaml")
	for path, documents := range map[string][]string{others: files[false], daemons: files[true]} {
		if err := os.WriteFile(path, []byte(strings.Join(documents, "\n---\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return others, daemons
}
