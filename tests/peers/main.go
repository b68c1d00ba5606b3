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
	flags := flag.NewFlagSet("inspect", flag.ExitOnError)
	system := &types.SystemContext{}
	flags.StringVar(&system.AuthFilePath, "authfile", "", "docker config file")
	flags.StringVar(&system.DockerCertPath, "cert-dir", "", "folder with *.crt to trust")
	flags.StringVar(&system.OSChoice, "override-os", "", "operating system of the image that is looked at")
	verify := flags.Bool("tls-verify", true, "false: plain HTTP is fine")
	if len(os.Args) < 2 || os.Args[1] != "inspect" {
		return fmt.Errorf("only inspect is known")
	}
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
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
