//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// exitNotFound is what a shell says of a command that is not there.
const exitNotFound = 127

// installApplets puts lookup and fetch into a folder for the client's PATH: a machine need not have nslookup or curl.
func (p *playground) installApplets(program string) error {
	if err := os.Mkdir(p.bin(), 0o755); err != nil {
		return fmt.Errorf("install the client's programs: %w", err)
	}
	for _, name := range []string{"lookup", "fetch"} {
		if err := os.Symlink(program, filepath.Join(p.bin(), name)); err != nil {
			return fmt.Errorf("install the client's programs: %w", err)
		}
	}
	return nil
}

func (p *playground) bin() string { return filepath.Join(p.scratch, "bin") }

// inClient runs a command of a person in the client, with their terminal, and returns its exit code.
func (p *playground) inClient(command []string) (int, error) {
	path, err := p.find(command[0])
	if err != nil {
		fmt.Fprintf(p.env.stderr, "playground: %s: %v; lookup NAME [TYPE] and fetch URL are always there\n", command[0], err)
		return exitNotFound, nil
	}
	cmd := exec.Command(path, command[1:]...)
	cmd.Args[0] = command[0]
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":"+p.bin())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.env.stdin, p.env.stdout, p.env.stderr
	if isTerminal(p.env.stdin) {
		// Keys such as Ctrl-C are then for the command alone.
		cmd.SysProcAttr = &syscall.SysProcAttr{Foreground: true, Ctty: int(p.env.stdin.Fd())}
	}
	err = p.client.host.Run(cmd)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// find looks for a program on the machine, then among our own.
func (p *playground) find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	if own := filepath.Join(p.bin(), name); !strings.Contains(name, "/") {
		if _, statErr := os.Stat(own); statErr == nil {
			return own, nil
		}
	}
	return "", err
}

// shell gives a person a shell in the client until they leave it.
func (p *playground) shell() (int, error) {
	p.screen.line("\nThis is a shell in the pod client. Everything goes away when you leave it (exit).\nTry:  " +
		strings.Join(p.suggestions(), "\n      ") + "\n")
	for name, value := range map[string]string{"PS1": `client:\w\$ `, "HISTFILE": "/dev/null", "ENV": ""} {
		os.Setenv(name, value)
	}
	if bash, err := exec.LookPath("bash"); err == nil {
		return p.inClient([]string{bash, "--norc", "--noprofile", "-i"})
	}
	os.Setenv("PS1", "client$ ") // the plain shell knows no escapes
	return p.inClient([]string{"/bin/sh", "-i"})
}

// suggestions are commands to try, of the programs that this machine has.
func (p *playground) suggestions() []string {
	list := []string{"lookup web", "lookup _http._tcp.web SRV", "fetch http://web-headless:8080/"}
	for _, command := range []string{"nslookup web", "dig +search web", "curl http://web-headless:8080/", "getent hosts web", "ip route"} {
		if _, err := exec.LookPath(strings.Fields(command)[0]); err == nil {
			list = append(list, command)
		}
	}
	return append(list, "cat /etc/resolv.conf")
}
