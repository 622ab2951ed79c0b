package envoy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// adminClient calls Envoy's admin interface.
type adminClient struct {
	base string // http://127.0.0.1:9901
	http *http.Client
}

func newAdminClient(addr string) *adminClient {
	return &adminClient{
		base: "http://" + addr,
		http: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// do returns the body of an answer with status 200.
func (a *adminClient) do(ctx context.Context, method, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return "", err
	}
	res, err := a.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", method, path, res.Status)
	}
	return string(body), err
}

// ready says whether Envoy serves.
func (a *adminClient) ready(ctx context.Context) bool {
	_, err := a.do(ctx, http.MethodGet, "/ready")
	return err == nil
}

// drain makes Envoy close its listeners, and each client connection after the call that runs on it.
func (a *adminClient) drain(ctx context.Context) error {
	if _, err := a.do(ctx, http.MethodPost, "/healthcheck/fail"); err != nil {
		return err
	}
	_, err := a.do(ctx, http.MethodPost, "/drain_listeners")
	return err
}

// activeCalls returns how many calls of clients run.
func (a *adminClient) activeCalls(ctx context.Context) (int, error) {
	stats, err := a.do(ctx, http.MethodGet, "/stats?filter="+url.QueryEscape(`^http\..*\.downstream_rq_active$`))
	if err != nil {
		return 0, err
	}
	sum := 0
	for lines := bufio.NewScanner(strings.NewReader(stats)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if strings.HasPrefix(name, "http.admin.") {
			continue // this very call
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return 0, fmt.Errorf("the statistic %s is %q", name, value)
		}
		sum += n
	}
	return sum, nil
}
