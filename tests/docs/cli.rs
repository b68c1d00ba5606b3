//! The page of the command line: what the binary says of itself, verb by verb, with its exit codes and the variables that it reads.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use super::commands::help;
use super::{assert_current, files, has_extension, root};

const PAGE: &str = "docs/reference/cli.md";

const HEAD: &str = "\
# The command line

<!-- Made from the binary's --help by `UPDATE=1 cargo test --test docs`; don't edit. -->

One binary, `imageset-controller`. Installed as `kubectl-imageset` it is `kubectl imageset`, with the same verbs. Results go to standard
output, and nothing else does; errors go to standard error as `error:` and `hint:`. A test runs each example.
";

/// By verb, in the order of the help: 0, 1 and 2, nothing where a verb never ends so.
const EXIT_CODES: [(&str, &str, &str, &str); 18] = [
    ("status", "shown", "", "no policy, or the cluster did not respond"),
    (
        "plan",
        "the plan is complete",
        "with another registry, path or FIPS mode: the digests there differ",
        "the plan is incomplete; it is printed all the same",
    ),
    (
        "prepare",
        "requested; with `--wait` staged, or ready and waiting for its operator",
        "held, with the cause",
        "no result in time",
    ),
    ("refresh", "requested; with `--wait` done", "", "not done in time"),
    ("suspend", "suspended", "", "could not be written"),
    ("resume", "resumed", "", "could not be written"),
    ("disarm", "printed; with `--yes` done", "", "refused, or failed"),
    (
        "generate",
        "printed; with `--check` the file is up to date",
        "with `--check` the file is out of date",
        "could not be completed",
    ),
    (
        "pin",
        "pinned; with `--check` it is",
        "with `--check` it is not; the tag has another digest now",
        "could not be completed",
    ),
    ("verify", "in sync", "something differs", "could not be completed"),
    ("explain", "explained, or listed", "nothing in the message is about images", "could not be read"),
    ("images", "printed", "", "a release is not known, or its image could not be run"),
    ("bundle", "printed", "", "an image is missing, or a registry did not respond; nothing is printed"),
    ("crds", "printed", "", ""),
    ("catalogue", "printed, or added", "", "could not be read or added"),
    ("version", "printed", "", ""),
    ("completion", "printed", "", ""),
    ("run", "stopped by SIGTERM or SIGINT", "", "could not start"),
];

/// Read by our own code: the name, and what for.
const OURS: [(&str, &str); 41] = [
    (
        "HTTPS_PROXY",
        "`https_proxy` too: proxy to registries with TLS ([the rules](../guide/private-registry.md#behind-a-proxy))",
    ),
    ("HTTP_PROXY", "`http_proxy` too: proxy to registries without TLS"),
    ("ALL_PROXY", "`all_proxy` too: proxy to both, if the specific variable is not set"),
    ("NO_PROXY", "`no_proxy` too: targets that are reached without a proxy"),
    ("https_proxy", ""),
    ("http_proxy", ""),
    ("all_proxy", ""),
    ("no_proxy", ""),
    (
        "DOCKER_AUTH_CONFIG",
        "registry credentials as JSON text, for verbs with `--registry-config` if that flag is not given",
    ),
    ("REGISTRY_AUTH_FILE", "file with such credentials, if neither of the two is given"),
    (
        "DOCKER_CONFIG",
        "folder whose `config.json` has such credentials, if none of these is given; default `~/.docker`",
    ),
    ("XDG_CACHE_HOME", "folder in which `--inspect` keeps what operator images printed; else `~/.cache`"),
    ("XDG_RUNTIME_DIR", "folder whose `containers/auth.json` has those of `podman login`, tried after docker's"),
    ("XDG_CONFIG_HOME", "the same for what podman keeps for good; else `~/.config`"),
    ("HOME", "where `.docker`, `.kube`, `.cache` and `.config/gcloud` are"),
    (
        "AWS_ACCESS_KEY_ID",
        "with `AWS_SECRET_ACCESS_KEY` and perhaps `AWS_SESSION_TOKEN`: keys for ECR, with the provider AWS ([EKS](../guide/eks.md))",
    ),
    ("AWS_SECRET_ACCESS_KEY", ""),
    ("AWS_SESSION_TOKEN", ""),
    (
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "with `AWS_ROLE_ARN` and perhaps `AWS_ROLE_SESSION_NAME`: the token that IRSA injects, and its role",
    ),
    ("AWS_ROLE_ARN", ""),
    ("AWS_ROLE_SESSION_NAME", ""),
    (
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "with `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`: what EKS Pod Identity injects; an ECS task has `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `AWS_CONTAINER_AUTHORIZATION_TOKEN`",
    ),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", ""),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", ""),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ""),
    ("AWS_REGION", "or `AWS_DEFAULT_REGION`: region of STS; else that of the registry"),
    ("AWS_DEFAULT_REGION", ""),
    (
        "AWS_ENDPOINT_URL_STS",
        "address of STS, in the place of its public one; `AWS_ENDPOINT_URL_ECR` and `AWS_ENDPOINT_URL_ECR_PUBLIC` those of the APIs of ECR",
    ),
    ("AWS_ENDPOINT_URL_ECR", ""),
    ("AWS_ENDPOINT_URL_ECR_PUBLIC", ""),
    (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "credentials file, with the provider GCP ([GKE](../guide/gke.md)); else that of gcloud in `CLOUDSDK_CONFIG` or `~/.config/gcloud`",
    ),
    ("CLOUDSDK_CONFIG", ""),
    ("GCE_METADATA_HOST", "the metadata server of Google, in the place of `metadata.google.internal`"),
    (
        "AZURE_CLIENT_ID",
        "with `AZURE_TENANT_ID` and `AZURE_FEDERATED_TOKEN_FILE` or `AZURE_CLIENT_SECRET`: the identity, with the provider Azure ([AKS](../guide/aks.md))",
    ),
    ("AZURE_TENANT_ID", ""),
    ("AZURE_FEDERATED_TOKEN_FILE", ""),
    ("AZURE_CLIENT_SECRET", ""),
    ("AZURE_AUTHORITY_HOST", "address of Microsoft Entra ID; else by the registry's domain"),
    (
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "address of the metadata service that has managed identities, in the place of the node's",
    ),
    ("POD_NAMESPACE", "`run`: namespace of the Lease and the records, if `--namespace` is not given"),
    ("POD_NAME", "`run`: name of this instance in the Lease and in events"),
];

/// Read by libraries, for us.
const OTHERS: [(&str, &str); 7] = [
    ("KUBECONFIG", "kubeconfig files, separated by `:`, if `--kubeconfig` is not given"),
    (
        "KUBERNETES_SERVICE_HOST",
        "with `KUBERNETES_SERVICE_PORT`: address of the API server in a pod, if no kubeconfig exists",
    ),
    ("SSL_CERT_FILE", "certificate authorities to trust for registries and proxies instead of the system's"),
    ("SSL_CERT_DIR", "folders with such authorities"),
    ("NO_COLOR", "set: no colour in the output"),
    ("CLICOLOR", "`0`: no colour either"),
    ("CLICOLOR_FORCE", "anything except `0`: colour in a pipe, too"),
];

/// The verbs that a help lists, but for `help` itself.
fn verbs(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).map_while(|line| line.strip_prefix("  "));
    let names = lines.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The codes and what they mean, as the module of the command line says it.
fn codes() -> String {
    let code = fs::read_to_string(root().join("src/cli.rs")).unwrap();
    let rows = code.lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1);
    let rows = rows.filter(|row| row.starts_with(|one: char| one.is_ascii_digit()));
    rows.map(|row| format!("| {row}\n")).collect()
}

fn section(page: &mut String, level: &str, verb: &[String]) {
    let help = help(verb).unwrap();
    write!(page, "\n{level} {}\n\n```text\n{}\n```\n", verb.join(" "), help.trim_end()).unwrap();
    for inner in verbs(&help) {
        section(page, "###", &[verb, &[inner]].concat());
    }
}

fn page() -> String {
    let all = verbs(&help(&[]).unwrap());
    let mut page = format!("{HEAD}\n## Exit codes\n\n| Code | Meaning |\n|---|---|\n{}\n", codes());
    page.push_str("| Verb | 0 | 1 | 2, or wrong arguments |\n|---|---|---|---|\n");
    for (verb, done, known, failed) in EXIT_CODES {
        writeln!(page, "| [{verb}](#{verb}) | {done} | {known} | {failed} |").unwrap();
    }
    page.push_str("\n## Variables\n\n| Variable | For |\n|---|---|\n");
    for (name, meaning) in OURS.iter().chain(&OTHERS).filter(|one| !one.1.is_empty()) {
        writeln!(page, "| `{name}` | {meaning} |").unwrap();
    }
    for verb in all {
        section(&mut page, "##", &[verb]);
    }
    page
}

#[test]
fn the_page_of_the_command_line_says_what_the_binary_says() {
    assert_current(PAGE, &page());
}

#[test]
fn every_verb_has_its_exit_codes() {
    let output: Vec<&str> = EXIT_CODES.iter().map(|row| row.0).collect();
    assert_eq!(output, verbs(&help(&[]).unwrap()));
    // 1 is said by these two only, in the file of the verb or in its folder.
    let says_one = |text: &str| {
        let squeezed: String = text.split_whitespace().collect();
        squeezed.contains(".drifted()") || squeezed.split("Failure::new(").skip(1).any(is_known)
    };
    for (verb, _, known, _) in EXIT_CODES {
        let file = root().join(format!("src/cli/verbs/{verb}.rs"));
        let folder = root().join(format!("src/cli/verbs/{verb}"));
        let code = files(|path| has_extension(path, "rs") && (path == file || path.starts_with(&folder)));
        let says = code.iter().any(|(_, text)| says_one(text));
        assert_eq!(says, !known.is_empty(), "{verb}");
    }
}

/// Whether `.known()` comes behind the closed parenthesis.
fn is_known(rest: &str) -> bool {
    let mut depth = 1;
    let end = rest.find(|one| {
        depth += i32::from(one == '(') - i32::from(one == ')');
        depth == 0
    });
    end.is_some_and(|end| rest[end..].starts_with(").known()"))
}

#[test]
fn every_variable_that_the_code_reads_is_on_the_page() {
    let mut read = BTreeSet::new();
    for (_, code) in files(|path| has_extension(path, "rs") && path.starts_with(root().join("src"))) {
        // What tests read is nobody's business.
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        let asks = ["std::env::var", "env = \"", "value(name)"].iter().any(|asks| code.contains(asks));
        if !asks || code.contains("var_os(\"UPDATE\")") {
            continue;
        }
        let code = code.replace("env!(\"CARGO_PKG_VERSION\")", "");
        let quoted = code.split('"').skip(1).step_by(2);
        let is_name = |text: &&str| {
            let letters = |case: fn(&char) -> bool| text.chars().all(|one| one == '_' || case(&one));
            *text == "HOME" || (text.contains('_') && (letters(char::is_ascii_uppercase) || text.ends_with("_proxy")))
        };
        read.extend(quoted.filter(is_name).map(str::to_owned));
    }
    let output: BTreeSet<String> = OURS.iter().map(|one| one.0.to_owned()).collect();
    assert_eq!(read, output);
}
