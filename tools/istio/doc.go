// Package istio holds the tests of examples/istio. They read its files by istiod's own code, which the product does not
// need: so they are a module of their own.
package istio
