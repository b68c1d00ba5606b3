// Judges objects as the GitOps tools do. Reads a JSON array of objects from standard input and prints, in the same order,
// {"argo": {"status", "message"}, "kstatus": {"status", "message"}} of each. The argument is the Lua health check.
//
// Argo CD's side is its own Lua (gopher-lua) with the libraries that it gives to configured checks, which are few: no string, no
// math. kstatus, which Flux goes by, is its own package.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type told struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type verdict struct {
	Argo    told `json:"argo"`
	Kstatus told `json:"kstatus"`
}

// What Argo CD takes for a status; it makes Unknown of all else.
var argoStatuses = map[string]bool{
	"Healthy": true, "Progressing": true, "Degraded": true, "Suspended": true, "Missing": true, "Unknown": true,
}

func main() {
	if err := judge(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func judge() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: gitops HEALTH.LUA < OBJECTS.JSON")
	}
	script, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var raw []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&raw); err != nil {
		return err
	}
	verdicts := make([]verdict, 0, len(raw))
	for index, bytes := range raw {
		object := map[string]interface{}{}
		// Whole numbers as int64, as a client has them.
		if err := utiljson.Unmarshal(bytes, &object); err != nil {
			return fmt.Errorf("object %d: %w", index, err)
		}
		argo, err := health(object, string(script))
		if err != nil {
			return fmt.Errorf("object %d: %w", index, err)
		}
		result, err := status.Compute(&unstructured.Unstructured{Object: object})
		if err != nil {
			return fmt.Errorf("object %d: %w", index, err)
		}
		verdicts = append(verdicts, verdict{Argo: argo, Kstatus: told{string(result.Status), result.Message}})
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

func health(object map[string]interface{}, script string) (told, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return told{}, err
		}
	}
	deadline, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	state.SetContext(deadline)
	state.SetGlobal("obj", value(state, object))
	if err := state.DoString(script); err != nil {
		return told{}, err
	}
	answer, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return told{}, fmt.Errorf("the check returns a %s, not a table", state.Get(-1).Type())
	}
	text := func(key string) (string, error) {
		switch one := answer.RawGetString(key).(type) {
		case lua.LString:
			return string(one), nil
		case *lua.LNilType:
			return "", nil
		default:
			return "", fmt.Errorf("%s is a %s, not a text", key, one.Type())
		}
	}
	health, err := text("status")
	if err != nil {
		return told{}, err
	}
	message, err := text("message")
	if err != nil {
		return told{}, err
	}
	if !argoStatuses[health] {
		return told{}, fmt.Errorf("%q is no status of Argo CD", health)
	}
	return told{health, message}, nil
}

// An object in Lua, as Argo CD's check sees it.
func value(state *lua.LState, one interface{}) lua.LValue {
	switch one := one.(type) {
	case bool:
		return lua.LBool(one)
	case float64:
		return lua.LNumber(one)
	case int64:
		return lua.LNumber(one)
	case string:
		return lua.LString(one)
	case []interface{}:
		table := state.CreateTable(len(one), 0)
		for _, item := range one {
			table.Append(value(state, item))
		}
		return table
	case map[string]interface{}:
		table := state.CreateTable(0, len(one))
		for key, item := range one {
			table.RawSetString(key, value(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
