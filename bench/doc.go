// Package bench measures what Keywheel adds to an Envoy that does nothing, side by side in one run. README.md says how.
package bench
