package harness

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Bootstrap is an Envoy configuration as a tree of JSON values. Its methods change it in place, and fail the test where
// it does not hold what they look for.
type Bootstrap map[string]any

// withProtoNames writes every field as envoy.yaml does: http_filters, where JSON may say httpFilters. Keys of maps are
// left alone: those in use are names of extensions, with dots.
func withProtoNames(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, child := range v {
			if !strings.ContainsAny(name, ".@") {
				name = upper.ReplaceAllStringFunc(name, func(c string) string { return "_" + strings.ToLower(c) })
			}
			out[name] = withProtoNames(child)
		}
		return out
	case []any:
		for i := range v {
			v[i] = withProtoNames(v[i])
		}
	}
	return v
}

var upper = regexp.MustCompile(`[A-Z]`)

// objects returns every object of the tree that has this field.
func objects(v any, field string) []map[string]any {
	var found []map[string]any
	switch v := v.(type) {
	case map[string]any:
		if _, has := v[field]; has {
			found = append(found, v)
		}
		for _, child := range v {
			found = append(found, objects(child, field)...)
		}
	case []any:
		for _, child := range v {
			found = append(found, objects(child, field)...)
		}
	}
	return found
}

// at walks down the tree; numbers in path are indexes.
func at(v any, path ...any) (any, error) {
	for i, step := range path {
		var next any
		switch step := step.(type) {
		case string:
			object, ok := v.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("no object at %v", path[:i])
			}
			next = object[step]
		case int:
			list, ok := v.([]any)
			if !ok || step >= len(list) {
				return nil, fmt.Errorf("no element %d at %v", step, path[:i])
			}
			next = list[step]
		}
		if next == nil {
			return nil, fmt.Errorf("nothing at %v", path[:i+1])
		}
		v = next
	}
	return v, nil
}

func (b Bootstrap) adminAddr() (string, error) {
	return socketAddress(map[string]any(b), "admin", "address", "socket_address")
}

func socketAddress(v any, path ...any) (string, error) {
	found, err := at(v, path...)
	if err != nil {
		return "", err
	}
	address, ok := found.(map[string]any)
	if !ok {
		return "", errors.New("no socket_address")
	}
	port, ok := address["port_value"].(float64)
	if !ok {
		return "", errors.New("no port_value")
	}
	return net.JoinHostPort(fmt.Sprint(address["address"]), strconv.Itoa(int(port))), nil
}

// ConnectionManager is the settings of the first listener's HTTP connection manager.
func (b Bootstrap) ConnectionManager(t testing.TB) map[string]any {
	t.Helper()
	found := objects(map[string]any(b), "http_filters")
	for _, object := range found {
		if _, has := object["stat_prefix"]; has {
			return object
		}
	}
	t.Fatal("the bootstrap has no HTTP connection manager")
	return nil
}

// Routes are the routes of the first virtual host.
func (b Bootstrap) Routes(t testing.TB) []any {
	t.Helper()
	routes, err := at(b.ConnectionManager(t), "route_config", "virtual_hosts", 0, "routes")
	if err != nil {
		t.Fatal(err)
	}
	return routes.([]any)
}

// Route is the settings of the first route that leads to this cluster.
func (b Bootstrap) Route(t testing.TB, cluster string) map[string]any {
	t.Helper()
	for _, route := range b.Routes(t) {
		action, err := at(route, "route")
		if err != nil {
			continue
		}
		if settings, ok := action.(map[string]any); ok && settings["cluster"] == cluster {
			return settings
		}
	}
	t.Fatalf("no route leads to %s", cluster)
	return nil
}

// PrependRoute puts a route before all others.
func (b Bootstrap) PrependRoute(t testing.TB, route map[string]any) {
	t.Helper()
	host, err := at(b.ConnectionManager(t), "route_config", "virtual_hosts", 0)
	if err != nil {
		t.Fatal(err)
	}
	host.(map[string]any)["routes"] = append([]any{route}, b.Routes(t)...)
}

// Cluster is the settings of a cluster.
func (b Bootstrap) Cluster(t testing.TB, name string) map[string]any {
	t.Helper()
	clusters, err := at(map[string]any(b), "static_resources", "clusters")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clusters.([]any) {
		if settings, ok := c.(map[string]any); ok && settings["name"] == name {
			return settings
		}
	}
	t.Fatalf("no cluster %s", name)
	return nil
}

// AddCluster adds a plain HTTP/1.1 cluster of one address.
func (b Bootstrap) AddCluster(t testing.TB, name, addr string) {
	t.Helper()
	static, err := at(map[string]any(b), "static_resources")
	if err != nil {
		t.Fatal(err)
	}
	resources := static.(map[string]any)
	clusters, _ := resources["clusters"].([]any) // none is an empty list
	resources["clusters"] = append(clusters, map[string]any{
		"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": loadAssignment(t, name, addr),
	})
}

// PointCluster makes a cluster lead to another address, and leaves all else as it is: TLS, SNI, the check of the name.
func (b Bootstrap) PointCluster(t testing.TB, name, addr string) {
	t.Helper()
	b.Cluster(t, name)["load_assignment"] = loadAssignment(t, name, addr)
}

// TrustCA makes every upstream certificate be checked against the authorities in a file.
func (b Bootstrap) TrustCA(t testing.TB, file string) {
	t.Helper()
	found := objects(map[string]any(b), "trusted_ca")
	for _, object := range found {
		object["trusted_ca"] = map[string]any{"filename": file}
	}
	if len(found) == 0 {
		t.Fatal("the bootstrap checks no certificate")
	}
}

func loadAssignment(t testing.TB, cluster, addr string) map[string]any {
	t.Helper()
	return map[string]any{"cluster_name": cluster, "endpoints": []any{map[string]any{"lb_endpoints": []any{
		map[string]any{"endpoint": map[string]any{"address": socket(t, addr)}},
	}}}}
}

func socket(t testing.TB, addr string) map[string]any {
	t.Helper()
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"socket_address": map[string]any{"address": host, "port_value": float64(port)}}
}

// PlainProxy is a bootstrap that has nothing of Keywheel in it: one listener that leads everything to one address.
// It is what benchmarks compare with.
func PlainProxy(t testing.TB, listen, admin, upstream string) Bootstrap {
	t.Helper()
	const types = "type.googleapis.com/envoy.extensions."
	router := map[string]any{"name": "envoy.filters.http.router", "typed_config": map[string]any{"@type": types + "filters.http.router.v3.Router"}}
	manager := map[string]any{
		"@type": types + "filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "plain",
		"http_filters": []any{router},
		"route_config": map[string]any{"virtual_hosts": []any{map[string]any{"name": "all", "domains": []any{"*"}, "routes": []any{
			map[string]any{"match": map[string]any{"prefix": "/"}, "route": map[string]any{"cluster": "groq", "timeout": "0s"}},
		}}}},
	}
	b := Bootstrap{
		"admin": map[string]any{"address": socket(t, admin)},
		"static_resources": map[string]any{"listeners": []any{map[string]any{
			"name": "plain", "address": socket(t, listen), "filter_chains": []any{map[string]any{"filters": []any{
				map[string]any{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
			}}},
		}}},
	}
	b.AddCluster(t, "groq", upstream)
	return b
}
