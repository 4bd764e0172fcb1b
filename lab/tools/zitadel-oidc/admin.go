package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/crypto"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const adminPath = "/_lab_only_admin"

// control is what tests have set.
type control struct {
	down         bool
	requests     []string
	backchannels map[string]backchannel
}

// backchannel is where a client hears of logouts.
type backchannel struct {
	Client string `json:"client"`
	URI    string `json:"uri"`
	// PEM of the root of its certificate.
	CA string `json:"ca"`
}

func (s *store) admin(next http.Handler) http.Handler {
	own := http.NewServeMux()
	set := func(pattern string, act func(body map[string]json.RawMessage, raw []byte)) {
		own.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			var raw bytes.Buffer
			raw.ReadFrom(r.Body)
			body := map[string]json.RawMessage{}
			json.Unmarshal(raw.Bytes(), &body)
			act(body, raw.Bytes())
			w.Header().Set("content-type", "application/json")
			w.Write([]byte("{}"))
		})
	}
	set("PUT "+adminPath+"/disabled", func(_ map[string]json.RawMessage, raw []byte) {
		var order struct {
			Subject  string `json:"subject"`
			Disabled bool   `json:"disabled"`
		}
		json.Unmarshal(raw, &order)
		s.lock.Lock()
		defer s.lock.Unlock()
		s.disabled[order.Subject] = order.Disabled
	})
	set("PUT "+adminPath+"/fault", func(_ map[string]json.RawMessage, raw []byte) {
		var order struct {
			Down bool `json:"down"`
		}
		json.Unmarshal(raw, &order)
		s.lock.Lock()
		defer s.lock.Unlock()
		s.control.down = order.Down
	})
	set("PUT "+adminPath+"/backchannel", func(_ map[string]json.RawMessage, raw []byte) {
		var order backchannel
		json.Unmarshal(raw, &order)
		s.lock.Lock()
		defer s.lock.Unlock()
		s.control.backchannels[order.Client] = order
	})
	set("DELETE "+adminPath+"/requests", func(map[string]json.RawMessage, []byte) {
		s.lock.Lock()
		defer s.lock.Unlock()
		s.control.requests = nil
	})
	own.HandleFunc("GET "+adminPath+"/requests", func(w http.ResponseWriter, _ *http.Request) {
		s.lock.Lock()
		defer s.lock.Unlock()
		w.Header().Set("content-type", "application/json")
		json.NewEncoder(w).Encode(append([]string{}, s.control.requests...))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, adminPath+"/") {
			own.ServeHTTP(w, r)
			return
		}
		s.lock.Lock()
		s.control.requests = append(s.control.requests, r.Method+" "+r.URL.RequestURI())
		down := s.control.down
		s.lock.Unlock()
		if down {
			panic(http.ErrAbortHandler) // the connection drops without an answer
		}
		next.ServeHTTP(w, r)
	})
}

// TerminateSessionFromRequest ends the session that the ID token names, or that of the browser, and tells the clients.
func (s *store) TerminateSessionFromRequest(ctx context.Context, asked *op.EndSessionRequest) (string, error) {
	id, _ := ctx.Value(cookieKey{}).(string)
	if asked.IDTokenHintClaims != nil {
		id, _ = asked.IDTokenHintClaims.Claims["sid"].(string)
	}
	s.lock.Lock()
	ended, ok := s.sessions[id]
	delete(s.sessions, id)
	told := []backchannel{}
	if ok {
		for _, one := range s.chains {
			one.over = one.over || one.by == ended
		}
		for _, one := range s.control.backchannels {
			told = append(told, one)
		}
	}
	s.lock.Unlock()
	for _, one := range told {
		if err := s.tell(one, ended); err != nil {
			log.Printf("back-channel logout of %s: %v", one.Client, err)
		}
	}
	return asked.RedirectURI, nil
}

func (s *store) TerminateSession(context.Context, string, string) error { return nil }

// tell sends a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.5).
func (s *store) tell(to backchannel, ended *session) error {
	expires := time.Now().Add(2 * time.Minute)
	claims := oidc.NewLogoutTokenClaims(s.config.Issuer, ended.subject, oidc.Audience{to.Client}, expires, rand.Text(), ended.id, 0)
	signer, err := op.SignerFromKey(s.key)
	if err != nil {
		return err
	}
	token, err := crypto.Sign(claims, signer)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(to.CA))
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	answer, err := client.PostForm(to.URI, url.Values{"logout_token": {token}})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		log.Printf("%s answered %s", to.URI, answer.Status)
	}
	return nil
}
