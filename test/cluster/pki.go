package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// authority signs every certificate of one cluster: of servers and of clients.
type authority struct {
	dir  string // where the files are written
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// newAuthority makes an authority and writes its certificate to ca.crt.
func newAuthority(dir string) (*authority, error) {
	template := certificate(pkix.Name{CommonName: "signpost test cluster"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate back: %w", err)
	}
	a := &authority{dir: dir, cert: cert, key: key, pem: encode("CERTIFICATE", der)}
	return a, os.WriteFile(filepath.Join(dir, "ca.crt"), a.pem, 0o644)
}

// certificate returns a template that holds for a week. It starts in the past because clocks differ.
func certificate(subject pkix.Name) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		serial = big.NewInt(time.Now().UnixNano()) // crypto/rand.Reader never fails (its documentation)
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(7 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

// issue signs one certificate for both directions and returns it and its key in PEM. The API server takes
// the common name as the user's name and the organization as its group.
func (a *authority) issue(user, group string, ips []netip.Addr, names ...string) (cert, key []byte, err error) {
	subject := pkix.Name{CommonName: user}
	if group != "" {
		subject.Organization = []string{group}
	}
	template := certificate(subject)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	for _, ip := range ips {
		template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
	}
	template.DNSNames = names
	private, key, err := newKey()
	if err != nil {
		return nil, nil, fmt.Errorf("make the key of %s: %w", user, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign the certificate of %s: %w", user, err)
	}
	return encode("CERTIFICATE", der), key, nil
}

// write issues a certificate into the files NAME.crt and NAME.key.
func (a *authority) write(name, user, group string, ips []netip.Addr, names ...string) error {
	cert, key, err := a.issue(user, group, ips, names...)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(a.dir, name+".crt"), cert, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(a.dir, name+".key"), key, 0o600)
}

// kubeconfig writes a kubeconfig to path, complete in itself, with a client certificate for a user and its
// group. It is JSON, which is YAML too; JSON carries bytes in base64, as the format wants them.
func (a *authority) kubeconfig(path, server, user, group string) error {
	cert, key, err := a.issue(user, group, nil)
	if err != nil {
		return err
	}
	type object = map[string]any
	b, err := json.MarshalIndent(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"clusters":        []object{{"name": "signpost", "cluster": object{"server": server, "certificate-authority-data": a.pem}}},
		"users":           []object{{"name": user, "user": object{"client-certificate-data": cert, "client-key-data": key}}},
		"contexts":        []object{{"name": "signpost", "context": object{"cluster": "signpost", "user": user}}},
		"current-context": "signpost",
	}, "", "  ")
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return nil
}

// newKey makes a private key, also in PEM.
func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, encode("EC PRIVATE KEY", der), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
