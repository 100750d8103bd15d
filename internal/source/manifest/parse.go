package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// file is the content of one file.
type file struct {
	byRef      map[cluster.Ref]*item
	passedOver int // documents of ignored kinds
	problems   []source.Problem
}

// item is one object in a file.
type item struct {
	object  cluster.Object
	version uint64            // metadata.resourceVersion, 0 if missing
	sum     [sha256.Size]byte // of its JSON: equal sums mean equal objects
	line    int
	hidden  bool // not selected
}

// broken explains why a file is not usable.
type broken struct {
	line       int // 0: the whole file
	what, want string
}

func (b *broken) Error() string { return fmt.Sprintf("line %d: %s: want %s", b.line, b.what, b.want) }

// parser parses the content of one file.
type parser struct {
	name    string
	options source.Options
	choose  *selection
	out     *file
}

// parse reads a whole file; the error is a *broken.
func parse(name string, content []byte, options source.Options, choose *selection) (*file, error) {
	p := parser{name: name, options: options, choose: choose, out: &file{byRef: map[cluster.Ref]*item{}}}
	read := p.yaml
	if strings.HasSuffix(name, ".json") {
		read = p.json
	}
	if err := read(content); err != nil {
		return nil, err
	}
	return p.out, nil
}

// yaml reads the documents of a YAML file.
func (p *parser) yaml(content []byte) error {
	for _, d := range splitYAML(content) {
		data, err := yaml.YAMLToJSONStrict(d.text)
		if err != nil {
			return d.syntaxError(err)
		}
		if err := p.object(d, "", data); err != nil {
			return err
		}
	}
	return nil
}

// json reads the values in a JSON file, usually one.
func (p *parser) json(content []byte) error {
	values := json.NewDecoder(bytes.NewReader(content))
	for {
		var data json.RawMessage
		err := values.Decode(&data)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			end := int64(len(content)) // truncated
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				end = syntax.Offset
			}
			return &broken{lineAt(content, end), err.Error(), "JSON"}
		}
		line := lineAt(content, values.InputOffset()-int64(len(data)))
		d := &document{text: data, line: line, first: line}
		if err := p.object(d, "", data); err != nil {
			return err
		}
	}
}

// head is the common beginning of all API objects.
type head struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Items      []json.RawMessage `json:"items"`
}

// lists are the kinds that hold objects for us, with the kind of each item that
// names none itself.
var lists = map[typeMeta]typeMeta{
	{"v1", "List"}:                                          {},
	{"v1", "ServiceList"}:                                   {"v1", "Service"},
	{"v1", "NamespaceList"}:                                 {"v1", "Namespace"},
	{"v1", "PodList"}:                                       {"v1", "Pod"},
	{"v1", "NodeList"}:                                      {"v1", "Node"},
	{"networking.k8s.io/v1", "ServiceCIDRList"}:             {"networking.k8s.io/v1", "ServiceCIDR"},
	{"discovery.k8s.io/v1", "EndpointSliceList"}:            {"discovery.k8s.io/v1", "EndpointSlice"},
	{"multicluster.x-k8s.io/v1alpha1", "ServiceImportList"}: {"multicluster.x-k8s.io/v1alpha1", "ServiceImport"},
}

type typeMeta struct{ apiVersion, kind string }

// object reads one object, or the items of a list, from JSON. It stands at path
// in its document.
func (p *parser) object(d *document, path string, data []byte) error {
	if bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
		return nil // an empty document
	}
	var h head
	if err := json.Unmarshal(data, &h); err != nil || h.APIVersion == "" || h.Kind == "" {
		return &broken{d.lineOf(path), "this is no object of the Kubernetes API", "apiVersion and kind"}
	}
	if each, ok := lists[typeMeta{h.APIVersion, h.Kind}]; ok {
		for i, item := range h.Items {
			where := fmt.Sprintf("%sitems[%d]", dotted(path), i)
			if err := p.object(d, where, withHead(item, each)); err != nil {
				return err
			}
		}
		return nil
	}
	return p.convert(d, path, data)
}

func (p *parser) convert(d *document, path string, data []byte) error {
	obj, unknown, err := source.Decode(data)
	var wrong *source.TypeError
	switch {
	case errors.Is(err, source.ErrOtherKind):
		p.out.passedOver++
		return nil
	case errors.As(err, &wrong):
		return &broken{d.lineOf(dotted(path) + wrong.Field), fmt.Sprintf("%s is %s", wrong.Field, wrong.Value), wrong.Want}
	case err != nil:
		return &broken{d.lineOf(path), err.Error(), "an object of the Kubernetes API"}
	}
	p.report(d, path, unknown)
	for _, options := range p.readings(obj) {
		o, problems := source.Convert(obj, options)
		p.report(d, path, problems)
		if o != nil {
			p.add(&item{
				object: o, version: version(obj), sum: sha256.Sum256(data), line: d.lineOf(path), hidden: !p.choose.takes(obj, o),
			})
		}
	}
	return nil
}

// readings are the ways to read an object: an EndpointSlice may be one of a Service
// and one of a ServiceImport.
func (p *parser) readings(obj any) []source.Options {
	if !source.IsImported(obj) || !p.choose.takesKind(cluster.KindImportedSlice) {
		return []source.Options{p.options}
	}
	imported := p.options
	imported.Imported = true
	return []source.Options{p.options, imported}
}

func (p *parser) report(d *document, path string, problems []source.Problem) {
	for _, problem := range problems {
		problem.Where = place(p.name, d.lineOf(dotted(path)+problem.Field))
		p.out.problems = append(p.out.problems, problem)
	}
}

// add keeps an object; it replaces one that stands earlier in the file.
func (p *parser) add(it *item) {
	ref := it.object.Ref()
	if other := p.out.byRef[ref]; other != nil {
		p.out.problems = append(p.out.problems, repeated(ref, place(p.name, it.line), place(p.name, other.line)))
	}
	p.out.byRef[ref] = it
}

// version is the resourceVersion that `kubectl get -o yaml` leaves in a file.
func version(obj any) uint64 {
	m, ok := obj.(interface{ GetResourceVersion() string })
	if !ok {
		return 0
	}
	return source.Version(m.GetResourceVersion())
}

// repeated tells that an object stands in two places.
func repeated(ref cluster.Ref, counts, other string) source.Problem {
	return source.Problem{
		Where: counts, Ref: ref, Field: "also in", Value: other,
		Want: "each object in one place; the later one counts (file name, then line)",
	}
}

// withHead gives an item of a typed list, which may leave them out, its apiVersion and kind.
func withHead(item json.RawMessage, h typeMeta) json.RawMessage {
	var fields map[string]json.RawMessage
	if h.kind == "" || json.Unmarshal(item, &fields) != nil || fields == nil {
		return item
	}
	for name, value := range map[string]string{"apiVersion": h.apiVersion, "kind": h.kind} {
		if fields[name] == nil {
			fields[name], _ = json.Marshal(value) // a string is always JSON
		}
	}
	whole, err := json.Marshal(fields)
	if err != nil {
		return item
	}
	return whole
}
