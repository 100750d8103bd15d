package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/test/apiserver"
)

// TestRealManifestsWithoutWarnings has the API server judge what `kubectl kustomize` renders, by a dry run that
// goes through validation and admission. kube-system warns of whatever the Pod Security Standard "restricted"
// forbids: no root, no privilege, no capability but NET_BIND_SERVICE.
func TestRealManifestsWithoutWarnings(t *testing.T) {
	t.Parallel()
	api := apiserver.Start(t)
	api.Kubectl(t, "label", "namespace", "kube-system", "pod-security.kubernetes.io/warn=restricted")
	dryRun := []string{"--dry-run=server", "--warnings-as-errors"}

	out, err := api.TryKubectl(t, append([]string{"create", "deployment", "careless", "--namespace=kube-system", "--image=careless"}, dryRun...)...)
	if err == nil || !strings.Contains(out, "would violate PodSecurity") {
		t.Fatalf("the API server does not warn of a Deployment without any security context, so nothing is checked here: %v\n%s", err, out)
	}
	// In this order: the overlay kubeadm changes a Deployment that is there, made by someone else than `apply`.
	for _, overlay := range []string{fresh, kubeadm} {
		t.Run(filepath.Base(overlay), func(t *testing.T) {
			rendered := filepath.Join(t.TempDir(), "rendered.yaml")
			if err := os.WriteFile(rendered, []byte(api.Kubectl(t, "kustomize", overlay)), 0o600); err != nil {
				t.Fatal(err)
			}
			out := api.Kubectl(t, append([]string{"apply", "--filename=" + rendered}, dryRun...)...)
			if !strings.Contains(out, "deployment.apps/coredns ") {
				t.Errorf("no Deployment coredns in what was applied:\n%s", out)
			}
			if overlay == fresh {
				api.Kubectl(t, "create", "--warnings-as-errors", "--filename="+rendered)
			}
		})
	}
}
