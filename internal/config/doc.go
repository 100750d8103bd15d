// Package config reads what the user wants of the forwarder: kube-proxy's flags and
// its configuration file (KubeProxyConfiguration v1alpha1), so that a running
// kube-proxy's settings can be taken over as they are.
//
// Which wins, as with kube-proxy: if --config names a file, the file counts and the
// flags that stand for its fields are passed over (with a note), except for
// --hostname-override and the logging flags. Without a file the flags count. What
// is left empty gets kube-proxy's default; the mode's default is nftables.
//
// Nothing is dropped in silence. A flag that does not exist is an error, as with
// kube-proxy. A field that does not exist, and one that exists and has no effect here,
// gets a note for the log: [effects] holds every field of the type with what becomes of
// it, and a test keeps it complete.
//
// The package reads the one file and must not look at the machine, the cluster or
// the environment: whether a setting can work here is found out by others.
package config
