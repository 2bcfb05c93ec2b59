{
  description = "Sextant: the network layer of a small bare-metal platform";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      # The commit is part of `--version`; a changed checkout has none.
      commit = self.rev or self.dirtyRev or null;
    in
    {
      packages = eachSystem (pkgs: import ./nix/packages.nix { inherit pkgs commit; });

      apps = eachSystem (pkgs: {
        demo = {
          type = "app";
          program = "${self.packages.${pkgs.stdenv.hostPlatform.system}.demo}/bin/sextant-demo";
          meta.description = "A mesh, edges, a real TLS workload, and what happens when things die";
        };
      });

      overlays.default = final: _previous: {
        sextant = import ./nix/packages.nix {
          inherit commit;
          pkgs = final;
        };
      };

      devShells = eachSystem (pkgs: {
        default = import ./nix/dev-shell.nix { inherit pkgs; };
      });

      checks = eachSystem (
        pkgs:
        import ./nix/checks.nix {
          inherit pkgs;
          packages = self.packages.${pkgs.stdenv.hostPlatform.system};
          source = self;
        }
      );

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
