// Says the digest of an image as `skopeo inspect --format {{.Digest}}` does, on skopeo's own library and with its flags, for
// machines without skopeo. The steps are those of its inspect: the manifest, the image of this platform with its
// configuration, the tags.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
)

func main() {
	if err := inspect(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func inspect(ctx context.Context) error {
	system := &types.SystemContext{}
	all := flag.NewFlagSet("skopeo", flag.ContinueOnError)
	all.StringVar(&system.OSChoice, "override-os", "", "operating system of the image that is looked at")
	if err := all.Parse(os.Args[1:]); err != nil {
		return err
	}
	if all.Arg(0) != "inspect" {
		return fmt.Errorf("only inspect is known")
	}
	flags := flag.NewFlagSet("inspect", flag.ContinueOnError)
	flags.StringVar(&system.AuthFilePath, "authfile", "", "docker config file")
	flags.StringVar(&system.DockerCertPath, "cert-dir", "", "folder with *.crt to trust")
	format := flags.String("format", "", "{{.Digest}} only")
	raw := flags.Bool("raw", false, "the manifest itself, and nothing else is asked for")
	verify := flags.Bool("tls-verify", true, "false: plain HTTP is fine")
	if err := flags.Parse(all.Args()[1:]); err != nil {
		return err
	}
	if !*raw && *format != "{{.Digest}}" {
		return fmt.Errorf("only the digest is known")
	}
	system.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*verify)

	reference, err := alltransports.ParseImageName(flags.Arg(0))
	if err != nil {
		return err
	}
	source, err := reference.NewImageSource(ctx, system)
	if err != nil {
		return err
	}
	defer source.Close()
	content, _, err := image.UnparsedInstance(source, nil).Manifest(ctx)
	if err != nil {
		return err
	}
	if *raw {
		_, err := os.Stdout.Write(content)
		return err
	}
	parsed, err := image.FromUnparsedImage(ctx, system, image.UnparsedInstance(source, nil))
	if err != nil {
		return err
	}
	if _, err := parsed.Inspect(ctx); err != nil {
		return err
	}
	if _, err := docker.GetRepositoryTags(ctx, system, reference); err != nil {
		return err
	}
	digest, err := manifest.Digest(content)
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}
