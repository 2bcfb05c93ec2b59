# The few functions of nixpkgs' lib that the flake uses, apart from its modules.
let
  inherit (builtins)
    concatStringsSep
    fromTOML
    listToAttrs
    map
    mapAttrs
    readFile
    ;
in
rec {
  nameValuePair = name: value: { inherit name value; };
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  mapAttrs' = f: set: listToAttrs (builtins.attrValues (mapAttrs f set));
  optionalAttrs = condition: set: if condition then set else { };
  concatStrings = concatStringsSep "";
  importTOML = path: fromTOML (readFile path);
  licenses.asl20.spdxId = "Apache-2.0";
  platforms.linux = [
    "x86_64-linux"
    "aarch64-linux"
  ];
  # Fails for a path that does not exist, as the real one does.
  fileset = {
    unions = map (
      path: if builtins.pathExists path then path else throw "no such path: ${toString path}"
    );
    toSource = { root, fileset }: builtins.seq (builtins.length fileset) root;
  };
}
