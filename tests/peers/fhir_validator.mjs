// Validate FHIR resources by the definitions of R4: a JSON list in, a list of faults for each out.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const { Fhir } = createRequire(import.meta.url)("fhir");
const fhir = new Fhir();
const faults = JSON.parse(readFileSync(0, "utf8")).map((resource) =>
  fhir
    .validate(resource, { errorOnUnexpected: true })
    .messages.filter((each) => each.severity === "error" || each.severity === "fatal")
    .map((each) => `${each.location}: ${each.message}`),
);
process.stdout.write(JSON.stringify(faults));
