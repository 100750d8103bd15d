package config

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kube-proxy/config/v1alpha1"
	"sigs.k8s.io/yaml"
)

const (
	kind     = "KubeProxyConfiguration"
	wantFile = "expected one " + kind + " of " + v1alpha1.GroupName + "/v1alpha1, as YAML or JSON"
)

func readFile(path string) (v1alpha1.KubeProxyConfiguration, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return v1alpha1.KubeProxyConfiguration{}, fmt.Errorf("reading the configuration that --config names: %w", err)
	}
	wire, err := decode(data)
	if err != nil {
		return wire, fmt.Errorf("reading the configuration in %s: %w", path, err)
	}
	setDefaults(&wire)
	return wire, nil
}

// decode is strict: a field that does not exist is a typing error that would
// otherwise be found when it matters.
func decode(data []byte) (v1alpha1.KubeProxyConfiguration, error) {
	var wire v1alpha1.KubeProxyConfiguration
	document, err := onlyDocument(data)
	if err != nil {
		return wire, err
	}
	var what metav1.TypeMeta
	if err := yaml.Unmarshal(document, &what); err != nil {
		return wire, fmt.Errorf("%w: %s", err, wantFile)
	}
	if what.Kind != kind || what.APIVersion != v1alpha1.SchemeGroupVersion.String() {
		return wire, fmt.Errorf("kind %q of %q: %s", what.Kind, what.APIVersion, wantFile)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return wire, err
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	_, _, err = decoder.Decode(document, nil, &wire)
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		return wire, fmt.Errorf("%w: expected only fields of KubeProxyConfiguration v1alpha1, each once", errors.Join(strict.Errors()...))
	}
	if err != nil {
		return wire, fmt.Errorf("%s: %s", strings.TrimSpace(err.Error()), wantFile)
	}
	return wire, nil
}

// onlyDocument returns the document in data if there is one: what follows a "---" would
// be lost without a word.
func onlyDocument(data []byte) ([]byte, error) {
	var only []byte
	for r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data))); ; {
		document, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		var content any
		if yaml.Unmarshal(document, &content) == nil && content == nil {
			continue // comments only
		}
		if only != nil {
			return nil, errors.New("two documents: " + wantFile)
		}
		only = document
	}
	if only == nil {
		return nil, errors.New("it is empty: " + wantFile)
	}
	return only, nil
}

// YAML prints the configuration as a file that --config takes.
func (c *Config) YAML() ([]byte, error) { return yaml.Marshal(&c.Wire) }
