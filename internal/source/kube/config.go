package kube

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config describes the connection to the API. Kubeconfig takes precedence over Endpoint;
// without both, the process must run in a pod of the cluster. It is comparable.
type Config struct {
	Kubeconfig string // file
	Context    string // in the kubeconfig; empty: its current one

	Endpoint string // URL of the API server
	CertFile string // client certificate in PEM, with KeyFile
	KeyFile  string
	CAFile   string // CA of the server's certificate in PEM; empty: the system's

	QPS       float32 // requests per second, of any kind; 0: 50, negative: no limit
	Burst     int     // burst of requests; 0: those of one second, or 100 if QPS is 0 too
	UserAgent string  // empty: client-go's default
}

// REST validates the configuration and returns it in client-go's form. Objects are
// transferred as protobuf, whichever way the API was configured, or as JSON if a server
// supports nothing else. REST sends nothing.
func (c Config) REST() (*rest.Config, error) {
	var rc *rest.Config
	var err error
	switch {
	case c.Kubeconfig != "":
		rc, err = c.fromKubeconfig()
	case c.Endpoint != "":
		rc, err = c.fromEndpoint()
	default:
		rc, err = inCluster()
	}
	if err != nil {
		return nil, err
	}
	rc.ContentType = runtime.ContentTypeProtobuf
	rc.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	rc.QPS, rc.Burst, rc.UserAgent = c.QPS, c.Burst, c.UserAgent
	return rc, nil
}

func (c Config) fromKubeconfig() (*rest.Config, error) {
	where := "kubeconfig " + c.Kubeconfig
	file, err := clientcmd.LoadFromFile(c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: want a kubeconfig file that this process can read", where, err)
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	context, has := c.Context, strings.Join(slices.Sorted(maps.Keys(file.Contexts)), ", ")
	if context == "" {
		context = file.CurrentContext
	}
	if has == "" {
		return nil, fmt.Errorf("%s: it has no contexts: want one with a cluster and a user", where)
	}
	if context == "" {
		return nil, fmt.Errorf("%s: it has no current-context: want the name of one of its contexts (%s)", where, has)
	}
	chosen := file.Contexts[context]
	if chosen == nil {
		return nil, fmt.Errorf("%s: it has no context %q: want one of %s", where, context, has)
	}
	if file.Clusters[chosen.Cluster] == nil {
		return nil, fmt.Errorf("%s: context %q is of cluster %q, which is not in it", where, context, chosen.Cluster)
	}
	if chosen.AuthInfo != "" && file.AuthInfos[chosen.AuthInfo] == nil {
		return nil, fmt.Errorf("%s: context %q is of user %q, who is not in it", where, context, chosen.AuthInfo)
	}
	rc, err := clientcmd.NewNonInteractiveClientConfig(*file, context, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%s: context %q: %w", where, context, err)
	}
	return rc, checkTLS(where, rc)
}

func (c Config) fromEndpoint() (*rest.Config, error) {
	where := "endpoint " + c.Endpoint
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, fmt.Errorf("%s: want a certificate and its key, or neither (cert %q, key %q)", where, c.CertFile, c.KeyFile)
	}
	rc := &rest.Config{Host: c.Endpoint, TLSClientConfig: rest.TLSClientConfig{CertFile: c.CertFile, KeyFile: c.KeyFile, CAFile: c.CAFile}}
	u, _, err := rest.DefaultServerUrlFor(rc)
	if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "") {
		err = errors.New("it names no server")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: want a URL like https://10.0.0.1:6443", where, withoutURL(err))
	}
	return rc, checkTLS(where, rc)
}

// withoutURL removes the parsed text from an error, because the caller names it.
func withoutURL(err error) error {
	var parse *url.Error
	if errors.As(err, &parse) {
		return parse.Err
	}
	return err
}

// checkTLS reads the certificates, so that an invalid file stops the start instead of the
// first request.
func checkTLS(where string, rc *rest.Config) error {
	for _, f := range []struct{ what, name string }{
		{"certificate", rc.CertFile}, {"key", rc.KeyFile}, {"certificate authority", rc.CAFile}, {"token", rc.BearerTokenFile},
	} {
		if f.name == "" {
			continue
		}
		if _, err := os.ReadFile(f.name); err != nil {
			return fmt.Errorf("%s: reading the %s: %w", where, f.what, err)
		}
	}
	if rc.CertFile != "" && rc.KeyFile != "" {
		if _, err := tls.LoadX509KeyPair(rc.CertFile, rc.KeyFile); err != nil {
			return fmt.Errorf("%s: %w: want a certificate in %s and its key in %s, both in PEM", where, err, rc.CertFile, rc.KeyFile)
		}
	}
	if _, err := rest.TLSConfigFor(rc); err != nil {
		return fmt.Errorf("%s: %w: want certificates in PEM", where, err)
	}
	return nil
}

func inCluster() (*rest.Config, error) {
	rc, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, errors.New("this process runs in no pod (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set): " +
			"want a kubeconfig file or the URL of an API server")
	}
	if err != nil {
		return nil, fmt.Errorf("the Kubernetes API of this pod: %w: want the token of its ServiceAccount (automountServiceAccountToken)", err)
	}
	return rc, checkTLS("the Kubernetes API of this pod", rc)
}
