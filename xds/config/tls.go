package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"keywheel/xds/mtls"
)

// TLS is how Envoys and the control plane know each other where xDS is served over TCP.
type TLS struct {
	CertFile string // absolute; of PEM, as the others
	KeyFile  string
	CAFile   string
	Identity *mtls.Identity // of what the files held when they were read
}

// digest tells what the files held; that of none is 0.
func (t *TLS) digest() [32]byte {
	if t == nil {
		return (*mtls.Identity)(nil).Digest()
	}
	return t.Identity.Digest()
}

// The settings, by the part of the identity that their files hold.
const (
	certSetting = "KEYWHEEL_TLS_CERT"
	keySetting  = "KEYWHEEL_TLS_KEY"
	caSetting   = "KEYWHEEL_TLS_CA"
)

func tlsSettings() []string { return []string{certSetting, keySetting, caSetting} }

// settingOf is the setting of a part.
func settingOf(part mtls.Part) string { return tlsSettings()[part] }

// tls reads the three files. It returns nil if none is set, or if there is a problem.
func (l *loader) tls() *TLS {
	var missing []string
	for _, name := range tlsSettings() {
		if _, set := l.lookup(name); !set {
			missing = append(missing, name)
		}
	}
	if len(missing) == len(tlsSettings()) {
		return nil
	}
	if len(missing) > 0 {
		l.incomplete(missing)
		return nil
	}
	before := len(l.problems)
	files, contents := [3]string{}, [3][]byte{}
	for i, name := range tlsSettings() {
		files[i], contents[i] = l.pemFile(name)
	}
	if len(l.problems) > before {
		return nil
	}
	id, flaws := mtls.Load(contents[mtls.Certificate], contents[mtls.Key], contents[mtls.Authorities])
	for _, flaw := range flaws {
		name := settingOf(flaw.Part)
		e, _ := l.lookup(name)
		l.problem(name, e, flaw.Wrong, flaw.Fix)
	}
	if id == nil {
		return nil
	}
	for _, w := range CertificateWarnings(id, l.opts.Now()) {
		l.warn(w.Name, w.Text)
	}
	if mode, err := l.opts.FileMode(files[mtls.Key]); err == nil && mode&0o004 != 0 {
		l.warn(keySetting, "every user of this machine can read the key; run chmod o-r on the file")
	}
	return &TLS{CertFile: files[mtls.Certificate], KeyFile: files[mtls.Key], CAFile: files[mtls.Authorities], Identity: id}
}

// CertificateWarnings are what is wrong at a time with certificates that can be used all the same.
func CertificateWarnings(id *mtls.Identity, now time.Time) []Warning {
	var warnings []Warning
	for _, flaw := range id.Concerns(now) {
		warnings = append(warnings, Warning{Name: settingOf(flaw.Part), Text: flaw.Error()})
	}
	return warnings
}

// incomplete refuses some of the three settings without the others.
func (l *loader) incomplete(missing []string) {
	given := slices.DeleteFunc(tlsSettings(), func(name string) bool { return slices.Contains(missing, name) })
	e, _ := l.lookup(given[0])
	for i, name := range missing {
		missing[i] = l.calledLike(name, given[0])
	}
	are := " is not"
	if len(missing) > 1 {
		are = " are not"
	}
	l.problem(given[0], e, "it is set, but "+strings.Join(missing, " and ")+are, "set all three, or none")
}

// pemFile returns a file's absolute path and what it holds. That is empty after a problem.
func (l *loader) pemFile(name string) (string, []byte) {
	e, _ := l.lookup(name)
	if strings.Contains(e.value, "-----BEGIN") {
		l.problem(name, e, "it holds what is to stand in a file", "write the path of that file")
		return "", nil
	}
	before := len(l.problems)
	path := l.path(name, e, e.value, "/etc/keywheel/"+strings.ToLower(strings.TrimPrefix(name, "KEYWHEEL_TLS_"))+".pem")
	if len(l.problems) > before {
		return "", nil
	}
	content, err := l.read(path)
	switch {
	case err != nil:
		l.problem(name, e, "the file cannot be read: "+reason(err), "write the path of a readable PEM file")
	case len(content) > maxSettings:
		l.problem(name, e, fmt.Sprintf("the file is larger than %d bytes", maxSettings), "keep only certificates in it")
	}
	return path, content
}
