//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what came into the golden files")

func TestEndpointSlices(t *testing.T) {
	files, err := filepath.Glob("testdata/slices/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			service, pods := new(corev1.Service), []*corev1.Pod{}
			if err := yaml.UnmarshalStrict(archive.Files[0].Data, service); err != nil {
				t.Fatal(err)
			}
			for _, document := range documents(t, archive.Files[1].Data) {
				pod := new(corev1.Pod)
				if err := yaml.UnmarshalStrict(document, pod); err != nil {
					t.Fatal(err)
				}
				pods = append(pods, pod)
			}
			var objects []metav1.Object
			for _, slice := range endpointSlices(service, pods) {
				objects = append(objects, slice)
			}
			got, err := render(objects, 0)
			if err != nil {
				t.Fatal(err)
			}
			want := &archive.Files[2]
			if *update {
				want.Data = got
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), string(got)); diff != "" {
				t.Errorf("want -, got +\n%s", diff)
			}
		})
	}
}

func documents(t *testing.T, text []byte) [][]byte {
	t.Helper()
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var list [][]byte
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, document)
	}
}

// TestEndpointSlicesSplit: as many slices as needed, each endpoint once.
func TestEndpointSlicesSplit(t *testing.T) {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}},
	}
	for _, tt := range []struct{ pods, slices int }{{0, 0}, {1, 1}, {100, 1}, {101, 2}, {250, 3}} {
		var pods []*corev1.Pod
		for i := range tt.pods {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
				Name: fmt.Sprintf("web-%03d", i), Namespace: "default", Labels: map[string]string{"app": "web"}}}
			pod.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.244.%d.%d", i/250, 2+i%250)}}
			pods = append(pods, pod)
		}
		slices := endpointSlices(service, pods)
		seen, names := map[string]bool{}, map[string]bool{}
		for _, slice := range slices {
			names[slice.Name] = true
			for _, e := range slice.Endpoints {
				seen[e.Addresses[0]] = true
			}
		}
		if len(slices) != tt.slices || len(names) != tt.slices || len(seen) != tt.pods {
			t.Errorf("%d pods: got %d slices with %d names and %d addresses, want %d slices", tt.pods, len(slices), len(names), len(seen), tt.slices)
		}
	}
}
