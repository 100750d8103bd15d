package test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
)

// The component gives both overlays a folder that the container can write, and
// leaves what is there.
func TestSnapshotComponent(t *testing.T) {
	for _, base := range []string{"FRESH", "KUBEADM"} {
		t.Run(base, func(t *testing.T) {
			header := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + base + "]\n"
			const name = "Deployment kube-system/coredns"
			before := object[*appsv1.Deployment](t, render(t, overlay(t, header)), name).Spec.Template.Spec
			after := object[*appsv1.Deployment](t, render(t, overlay(t, header+"components: [SNAPSHOT]\n")), name).Spec.Template.Spec
			if len(after.Volumes) != len(before.Volumes)+1 || len(after.Containers) != 1 ||
				len(after.Containers[0].VolumeMounts) != len(before.Containers[0].VolumeMounts)+1 {
				t.Fatalf("volumes %v, mounts %v: want one more of each", after.Volumes, after.Containers[0].VolumeMounts)
			}
			for _, v := range after.Volumes {
				if v.Name == "snapshot" && (v.EmptyDir == nil || v.EmptyDir.SizeLimit.Value() < 16<<20) {
					t.Errorf("volume %+v: want an emptyDir with room for two snapshots", v)
				}
			}
			for _, m := range after.Containers[0].VolumeMounts {
				if m.Name == "snapshot" && (m.MountPath != "/var/lib/signpost" || m.ReadOnly) {
					t.Errorf("mount %+v: want the path of the README, writable", m)
				}
			}
		})
	}
}
