//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// examples are the objects that somebody applies to the cluster.
type examples struct {
	services  []*corev1.Service
	workloads []*workload
}

// A workload is what makes pods of a template: a Deployment or a StatefulSet.
type workload struct {
	kind     string
	meta     metav1.ObjectMeta
	replicas int
	template corev1.PodTemplateSpec
	// service is the governing Service of a StatefulSet: its pods have names below it. Empty for a Deployment.
	service string
}

// readExamples reads the YAML files of a folder, in the order of their names.
func readExamples(dir string) (examples, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return examples{}, fmt.Errorf("read examples: %w", err)
	}
	if len(files) == 0 {
		return examples{}, fmt.Errorf("read examples: no *.yaml in %s", dir)
	}
	return readFiles(files...)
}

// readFiles reads YAML files.
func readFiles(files ...string) (examples, error) {
	var all examples
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return all, fmt.Errorf("read manifest: %w", err)
		}
		if err := all.parse(text); err != nil {
			return all, fmt.Errorf("read manifest %s: %w", file, err)
		}
	}
	return all, nil
}

// parse takes in the documents of one file.
func (e *examples) parse(text []byte) error {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for number := 1; ; number++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = e.parseObject(document)
		}
		if err != nil {
			return fmt.Errorf("document %d: %w", number, err)
		}
	}
}

func (e *examples) parseObject(document []byte) error {
	var head metav1.TypeMeta
	if err := yaml.Unmarshal(document, &head); err != nil {
		return err
	}
	switch head.APIVersion + " " + head.Kind {
	case " ": // nothing but comments
		return nil
	case "v1 Service":
		return decode(document, func(o *corev1.Service) { e.services = append(e.services, o) })
	case "apps/v1 Deployment":
		return decode(document, func(o *appsv1.Deployment) {
			e.workloads = append(e.workloads, &workload{
				kind: head.Kind, meta: o.ObjectMeta, replicas: replicas(o.Spec.Replicas), template: o.Spec.Template,
			})
		})
	case "apps/v1 StatefulSet":
		return decode(document, func(o *appsv1.StatefulSet) {
			e.workloads = append(e.workloads, &workload{
				kind: head.Kind, meta: o.ObjectMeta, replicas: replicas(o.Spec.Replicas), template: o.Spec.Template,
				service: o.Spec.ServiceName,
			})
		})
	}
	return fmt.Errorf("%s %s is not played here: expected v1 Service, apps/v1 Deployment or apps/v1 StatefulSet",
		head.APIVersion, head.Kind)
}

// decode reads an object strictly: a misspelt field is an error, as with kubectl apply. A name is required, a namespace
// is "default" unless it is given.
func decode[T any, P interface {
	*T
	metav1.Object
}](document []byte, keep func(P)) error {
	object := P(new(T))
	if err := yaml.UnmarshalStrict(document, object); err != nil {
		return err
	}
	if object.GetName() == "" {
		return errors.New("metadata.name is missing")
	}
	if object.GetNamespace() == "" {
		object.SetNamespace(metav1.NamespaceDefault)
	}
	keep(object)
	return nil
}

// replicas is 1 if nothing is said, as the API defaults it.
func replicas(n *int32) int {
	if n == nil {
		return 1
	}
	return int(*n)
}
