// Package monitoring holds the tests of examples/monitoring. They read its files by Prometheus's and Grafana's own code,
// which the product does not need: so they are a module of their own.
package monitoring
