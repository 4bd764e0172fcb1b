// The lab's second identity provider: github.com/zitadel/oidc, which is certified, with people, sessions and pages in memory. What it says
// on the wire (endpoints, tokens, claims, errors) is the library's. `node lab/src/oidc/zitadel.ts` starts it; nothing else does.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// Config is what the lab passes as JSON.
type Config struct {
	// Issuer URL; where it listens, without it.
	Issuer  string            `json:"issuer"`
	People  map[string]Person `json:"people"`
	Clients []*Client         `json:"clients"`
}

// Person can sign in by their `sub` and any password.
type Person struct {
	Email  string   `json:"email"`
	Groups []string `json:"groups"`
}

func main() {
	address := flag.String("listen", "localhost:0", "host:port")
	cert := flag.String("tls-cert", "", "PEM; absent: plain HTTP on loopback")
	key := flag.String("tls-key", "", "PEM")
	text := flag.String("config", "{}", "JSON")
	flag.Parse()

	var config Config
	if err := json.Unmarshal([]byte(*text), &config); err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	host, _, _ := net.SplitHostPort(*address)
	scheme := "http"
	if *cert != "" {
		scheme = "https"
	}
	url := fmt.Sprintf("%s://%s:%d", scheme, host, listener.Addr().(*net.TCPAddr).Port)
	if config.Issuer == "" {
		config.Issuer = url
	}
	server := &http.Server{Handler: handler(config)}
	fmt.Println(url) // the lab waits for this line
	if *cert != "" {
		log.Fatal(server.ServeTLS(listener, *cert, *key))
	}
	log.Fatal(server.Serve(listener))
}

func handler(config Config) http.Handler {
	store := newStore(config)
	options := &op.Config{
		DefaultLogoutRedirectURI:          "/signed-out",
		CodeMethodS256:                    true,
		GrantTypeRefreshToken:             true,
		SupportedScopes:                   []string{"openid", "offline_access", "email", "groups"},
		BackChannelLogoutSupported:        true,
		BackChannelLogoutSessionSupported: true,
		DeviceAuthorization: op.DeviceAuthorizationConfig{
			Lifetime: 5 * time.Minute, PollInterval: time.Second, UserFormPath: "/device", UserCode: op.UserCodeBase20,
		},
	}
	rand.Read(options.CryptoKey[:])
	insecure := []op.Option{}
	if config.Issuer[:5] == "http:" {
		insecure = append(insecure, op.WithAllowInsecure())
	}
	provider, err := op.NewProvider(options, store, op.StaticIssuer(config.Issuer), insecure...)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	pages := pages{store, op.AuthCallbackURL(provider)}
	pages.register(mux, op.NewIssuerInterceptor(provider.IssuerFromRequest))
	mux.Handle("/", provider)
	return store.admin(withCookie(mux))
}

type cookieKey struct{}

// The end of a session is asked for by a browser: which one, says its cookie.
func withCookie(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), cookieKey{}, sessionOf(r))))
	})
}
