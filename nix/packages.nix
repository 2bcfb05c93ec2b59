# Every program, built once as `all`. The package of one program is a copy of it, so that a machine
# which runs the edge has nothing of the control plane in its closure.
{ pkgs, commit }:
let
  inherit (pkgs) lib;
  version = (lib.importTOML ../Cargo.toml).workspace.package.version;
  meta = {
    license = lib.licenses.asl20;
    platforms = lib.platforms.linux;
  };
  all = pkgs.rustPlatform.buildRustPackage {
    pname = "sextant-all";
    inherit version;
    src = lib.fileset.toSource {
      root = ../.;
      fileset = lib.fileset.unions [
        ../.cargo
        ../.sqlx
        ../Cargo.lock
        ../Cargo.toml
        ../crates
        ../docs
        ../migrations
      ];
    };
    cargoLock.lockFile = ../Cargo.lock;
    env = {
      SQLX_OFFLINE = "true";
    }
    // lib.optionalAttrs (commit != null) { SEXTANT_COMMIT = commit; };
    # Tests need Postgres, WireGuard and network namespaces: `checks` runs them.
    doCheck = false;
    meta = meta // {
      description = "All programs of Sextant";
    };
  };
  only =
    name: description:
    pkgs.runCommand "${name}-${version}"
      {
        meta = meta // {
          inherit description;
          mainProgram = name;
        };
      }
      ''
        install -Dm755 ${all}/bin/${name} $out/bin/${name}
      '';
  tools = import ./tools.nix { inherit pkgs; };
in
rec {
  inherit all;
  default = sextant;
  sextant = only "sextant" "Command line of Sextant's operators";
  sextant-control = only "sextant-control" "Control plane of Sextant";
  sextant-agent = only "sextant-agent" "Node agent of Sextant";
  sextant-edge = only "sextant-edge" "L4 edge of Sextant";
  # The lab finds the daemons beside its own program, so it is run from `all`.
  demo = pkgs.writeShellApplication {
    name = "sextant-demo";
    runtimeInputs = tools.lab;
    text = ''exec ${all}/bin/sextant-lab demo "$@"'';
  };
}
