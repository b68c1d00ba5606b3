// Command controlplane is a Kubernetes control plane and an image registry in one binary, for the tests and the
// demo of imageset-controller: no container engine runs where they run. The first argument picks the program, the
// rest are that program's own arguments:
//
//	controlplane etcd | kube-apiserver | kube-controller-manager | kube-scheduler | registry | kubectl [arguments]
//	controlplane htpasswd USER PASSWORD    prints a line for the registry's htpasswd file
//
// With TESTBOX_REQUESTS=FILE the registry appends one line per request to FILE before the answer leaves:
// method, URI, status and Authorization scheme ("-" for none), separated by tabs.
//
// With TESTBOX_PARENT=stdin in the environment the process exits at once when its standard input ends. The parent
// holds the other end of that pipe, so whatever kills the parent (even SIGKILL) leaves nothing running.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry"
	"github.com/felixge/httpsnoop"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"golang.org/x/crypto/bcrypt"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	if len(os.Args) < 2 {
		fail("name a program: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, registry or kubectl")
	}
	if os.Getenv("TESTBOX_PARENT") == "stdin" {
		go exitWithParent()
	}
	program, arguments := os.Args[1], os.Args[2:]
	// Called by a link, as the people do whose commands are tested.
	if name := filepath.Base(os.Args[0]); name == "kubectl" {
		program, arguments = name, os.Args[1:]
	}
	os.Args = append([]string{program}, arguments...)
	switch program {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "kubectl":
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
	case "registry":
		if file := os.Getenv("TESTBOX_REQUESTS"); file != "" {
			recordRequests(file)
		}
		if err := registry.RootCmd.Execute(); err != nil {
			fail(err.Error())
		}
	case "htpasswd":
		if len(os.Args) != 3 {
			fail("htpasswd takes a user and a password")
		}
		hash, err := bcrypt.GenerateFromPassword([]byte(os.Args[2]), bcrypt.MinCost)
		if err != nil {
			fail(err.Error())
		}
		fmt.Println(os.Args[1] + ":" + string(hash))
	default:
		fail("unknown program " + program)
	}
}

// exitWithParent ends the process, without the programs' graceful stop (up to a minute), once standard input ends.
func exitWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// recordRequests appends a line per request to the file. The registry's own access log is written after the answer,
// so a test that counts requests could miss the last one; this line is in the file before the client sees the status.
func recordRequests(file string) {
	log, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		fail(err.Error())
	}
	registry.RegisterHandler(func(_ *configuration.Configuration, next http.Handler) http.Handler {
		return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
			var once sync.Once
			method, uri := request.Method, request.URL.RequestURI()
			scheme, _, _ := strings.Cut(request.Header.Get("Authorization"), " ")
			if scheme == "" {
				scheme = "-"
			}
			record := func(status int) {
				once.Do(func() { fmt.Fprintf(log, "%s\t%s\t%d\t%s\n", method, uri, status, scheme) })
			}
			next.ServeHTTP(httpsnoop.Wrap(writer, httpsnoop.Hooks{
				WriteHeader: func(original httpsnoop.WriteHeaderFunc) httpsnoop.WriteHeaderFunc {
					return func(status int) { record(status); original(status) }
				},
				Write: func(original httpsnoop.WriteFunc) httpsnoop.WriteFunc {
					return func(body []byte) (int, error) { record(http.StatusOK); return original(body) }
				},
				ReadFrom: func(original httpsnoop.ReadFromFunc) httpsnoop.ReadFromFunc {
					return func(body io.Reader) (int64, error) { record(http.StatusOK); return original(body) }
				},
			}), request)
			record(http.StatusOK)
		})
	})
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, "controlplane: "+message)
	os.Exit(2)
}
