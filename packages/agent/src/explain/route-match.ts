/**
 * Evaluates the match of an Envoy route (an envoy.config.route.v3.RouteMatch in JSON) against a request. The result is
 * `unknown` if a condition is not supported or depends on the actual request.
 */
export type MatchResult = 'yes' | 'no' | 'unknown';

export interface ExplainedRequest {
  readonly method: string;
  /** The path, including the query, exactly as the program sent it. */
  readonly path: string;
  /** The host and port, such as `orders.shop:8080`. */
  readonly authority: string;
  /** The request headers, by lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
}

type Json = Readonly<Record<string, unknown>>;

/** The fields of a match that concern the path. All other fields are additional conditions. */
const PATHS = ['prefix', 'path', 'safe_regex', 'path_separated_prefix', 'case_sensitive'];

/** Evaluates all conditions of a match. */
export function evaluateRouteMatch(match: Json, request: ExplainedRequest): MatchResult {
  const { headers, query_parameters: parameters, ...rest } = match;
  const further = Object.keys(rest).filter((name) => !PATHS.includes(name));
  return all([
    matchesPath(match, request.path.split(/[?#]/)[0]!),
    ...((headers ?? []) as Json[]).map((one) => matchesHeader(one, request)),
    ...((parameters ?? []) as Json[]).map((one) => matchesParameter(one, request.path)),
    ...further.map((): MatchResult => 'unknown'),
  ]);
}

/**
 * Returns whether the match depends on headers. If it does, a request with different headers may take another route.
 */
export function matchesOnHeaders(match: Json): boolean {
  return ((match.headers ?? []) as Json[]).some(({ name }) => !String(name).startsWith(':'));
}

function matchesPath(
  { prefix, path, safe_regex, path_separated_prefix: below, ...more }: Json,
  asked: string,
): MatchResult {
  const matches = (matcher: Json) => matchesText({ ...matcher, ignore_case: more.case_sensitive === false }, asked);
  if (typeof below !== 'string') return matches({ prefix, exact: path, safe_regex });
  return matches({ exact: below }) === 'yes' ? 'yes' : matches({ prefix: `${below}/` });
}

function matchesHeader(header: Json, { method, authority, path, headers }: ExplainedRequest): MatchResult {
  const { name, invert_match: inverted, string_match: text, present_match: present, ...more } = header;
  const pseudo: Record<string, string> = {
    ':method': method,
    ':authority': authority,
    ':path': path,
    ':scheme': 'http',
  };
  const value = pseudo[String(name)] ?? headers[String(name).toLowerCase()];
  let matched: MatchResult = 'unknown';
  const others = Object.keys(more).filter((one) => one !== 'treat_missing_header_as_empty');
  if (others.length > 0) return 'unknown';
  if (text !== undefined) {
    // An absent header does not match any text, even if the match is inverted, unless the matcher treats missing
    // headers as empty.
    const seen = value ?? (more.treat_missing_header_as_empty === true ? '' : undefined);
    if (seen === undefined) return 'no';
    matched = matchesText(text as Json, seen);
  } else if (present !== undefined) matched = told((value !== undefined) === present);
  else if (Object.keys(header).every((one) => one === 'name' || one === 'invert_match'))
    matched = told(value !== undefined);
  return inverted === true ? not(matched) : matched;
}

function matchesParameter({ name, string_match: text, present_match: present }: Json, path: string): MatchResult {
  const query = new URLSearchParams(path.split('#')[0]!.split('?').slice(1).join('?'));
  const value = query.get(String(name));
  if (present !== undefined) return told((value !== null) === present);
  if (text === undefined) return told(value !== null);
  return value === null ? 'no' : matchesText(text as Json, value);
}

function matchesText(matcher: Json, value: string): MatchResult {
  const { exact, prefix, suffix, contains, safe_regex: regex, ignore_case: ignored } = matcher;
  const fold = (text: unknown) => (ignored === true ? String(text).toLowerCase() : String(text));
  const given = fold(value);
  if (typeof exact === 'string') return told(given === fold(exact));
  if (typeof prefix === 'string') return told(given.startsWith(fold(prefix)));
  if (typeof suffix === 'string') return told(given.endsWith(fold(suffix)));
  if (typeof contains === 'string') return told(given.includes(fold(contains)));
  return regex === undefined ? 'unknown' : matchesRegex(regex as Json, value);
}

/** Matches regular expressions that mean the same in RE2 and in JavaScript. */
const PLAIN_REGEX = /^(?:[A-Za-z0-9/_=&%:,;@~ -]|\\[./_-]|\[\^?[A-Za-z0-9/?._-]+\][+*?]?|\.[*+]?|[()|^$])*$/;
const LONGEST = 300;
/**
 * The maximum number of paths through a regular expression. JavaScript tries them one by one, while RE2 tries them all
 * at once, and the pattern comes from the mesh.
 */
const MOST_WAYS = 100_000;

function matchesRegex({ regex }: Json, value: string): MatchResult {
  const pattern = String(regex);
  if (pattern.length > LONGEST || value.length > LONGEST || /\)[*+?{]/.test(pattern)) return 'unknown';
  if (!PLAIN_REGEX.test(pattern) || waysThrough(pattern, value.length) > MOST_WAYS) return 'unknown';
  try {
    return told(new RegExp(`^(?:${pattern})$`, 's').test(value));
  } catch {
    return 'unknown';
  }
}

/**
 * Returns an upper bound for the number of paths through a regular expression. Every repetition may end at any
 * character, and every option or alternative doubles the number.
 */
function waysThrough(pattern: string, length: number): number {
  const count = (sign: RegExp) => pattern.match(sign)?.length ?? 0;
  return (length + 1) ** count(/[*+]/g) * 2 ** count(/[?|]/g);
}

function all(answers: readonly MatchResult[]): MatchResult {
  if (answers.includes('no')) return 'no';
  return answers.includes('unknown') ? 'unknown' : 'yes';
}

function not(matched: MatchResult): MatchResult {
  return matched === 'unknown' ? matched : told(matched === 'no');
}

function told(is: boolean): MatchResult {
  return is ? 'yes' : 'no';
}
