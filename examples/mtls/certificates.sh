#!/bin/sh
# Makes a private authority and two certificates of it: one for the control plane, one for Envoys. Run it again to renew
# the certificates; the authority stays.
#
#   certificates.sh HOST [DIRECTORY]
#
# HOST is the name (or IP address) by which Envoys reach the control plane. In DIRECTORY (certificates) are then
# control-plane/ and envoy/, each with the cert.pem, key.pem and ca.pem of that host, and ca-key.pem, the authority's own
# key: keep it off both hosts.
set -eu
umask 077
host=${1:?the name by which Envoys reach the control plane is missing}
mkdir -p "${2:-certificates}"
cd "${2:-certificates}"

# sign NAME DAYS HOW: makes key.new, and cert.new with the extensions on standard input; HOW says by whom it is signed.
sign() {
	cat >extensions.new
	quietly openssl ecparam -name prime256v1 -genkey -noout -out key.new
	quietly openssl req -new -sha256 -key key.new -subj "/CN=$1" -out request.new
	quietly openssl x509 -req -sha256 -in request.new -days "$2" -extfile extensions.new -out cert.new $3
	rm extensions.new request.new
}

# quietly shows what a command says only if it fails.
quietly() { said=$("$@" 2>&1) || { echo "$said" >&2; exit 1; }; }

if [ ! -f ca-key.pem ]; then
	sign "Keywheel private authority" 3650 "-signkey key.new" <<-END
		basicConstraints = critical, CA:TRUE, pathlen:0
		keyUsage = critical, keyCertSign
		subjectKeyIdentifier = hash
	END
	mv cert.new ca.pem
	mv key.new ca-key.pem
fi

# issue DIRECTORY USAGE NAMES: a certificate for a host, good for a year.
issue() {
	sign "keywheel $1" 365 "-CA ca.pem -CAkey ca-key.pem -CAcreateserial" <<-END
		basicConstraints = critical, CA:FALSE
		keyUsage = critical, digitalSignature
		extendedKeyUsage = $2
		subjectAltName = $3
		authorityKeyIdentifier = keyid
	END
	mkdir -p "$1"
	cp ca.pem "$1/ca.pem"
	mv key.new "$1/key.pem"
	mv cert.new "$1/cert.pem"
}

case $host in
*:*) kind=IP ;;
*[!0-9.]*) kind=DNS ;;
*) kind=IP ;;
esac
issue control-plane serverAuth "$kind:$host"
issue envoy clientAuth "DNS:envoy"
echo "Made in $PWD: control-plane/ and envoy/, each for /etc/keywheel of its host. Keep ca-key.pem away from both."
