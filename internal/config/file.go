package config

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kube-proxy/config/v1alpha1"
	"sigs.k8s.io/yaml"
)

const (
	kind     = "KubeProxyConfiguration"
	wantFile = "want one " + kind + " of " + v1alpha1.GroupName + "/v1alpha1, as YAML or JSON"
)

// readFile returns the configuration in a file, and notes on its parts without effect.
func readFile(path string) (v1alpha1.KubeProxyConfiguration, []string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return v1alpha1.KubeProxyConfiguration{}, nil, fmt.Errorf("read the configuration of --config: %w", err)
	}
	wire, notes, err := decode(data)
	if err != nil {
		return wire, nil, fmt.Errorf("read the configuration in %s: %w", path, err)
	}
	return wire, notes, nil
}

// decode is as lenient as kube-proxy: an unknown or duplicate field gets a note. Files in running
// clusters contain such fields, and a node must not lose its routes because of them.
func decode(data []byte) (wire v1alpha1.KubeProxyConfiguration, notes []string, err error) {
	document, err := onlyDocument(data)
	if err != nil {
		return wire, nil, err
	}
	var content any
	if err := yaml.Unmarshal(document, &content); err != nil {
		return wire, nil, fmt.Errorf("%w: %s", err, wantFile)
	}
	tree, _ := content.(map[string]any)
	if tree["kind"] != kind || tree["apiVersion"] != v1alpha1.SchemeGroupVersion.String() {
		return wire, nil, fmt.Errorf("kind %q of %q: %s", text(tree["kind"]), text(tree["apiVersion"]), wantFile)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return wire, nil, err
	}
	decode := func(how serializer.CodecFactoryOptionsMutator) error {
		_, _, err := serializer.NewCodecFactory(scheme, how).UniversalDeserializer().Decode(document, nil, &wire)
		return err
	}
	err = decode(serializer.EnableStrict)
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		notes = passedOver(strict.Errors())
		wire = v1alpha1.KubeProxyConfiguration{}
		err = decode(serializer.DisableStrict)
	}
	if err == nil {
		return wire, notes, nil
	}
	if wrong := wrongTypes(tree); wrong != nil {
		return wire, nil, wrong
	}
	return wire, nil, fmt.Errorf("%s: %s", strings.TrimSpace(err.Error()), wantFile)
}

// text formats a value for an error; a missing value is empty.
func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// onlyDocument returns the only document in data. kube-proxy would silently ignore further
// documents after a "---".
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
			continue // only comments
		}
		if only != nil {
			return nil, errors.New("two documents: " + wantFile)
		}
		only = document
	}
	if only == nil {
		return nil, errors.New("the file is empty: " + wantFile)
	}
	return only, nil
}

// YAML formats the configuration as a file for --config.
func (c *Config) YAML() ([]byte, error) { return yaml.Marshal(&c.Wire) }
