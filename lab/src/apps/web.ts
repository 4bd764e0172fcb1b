/** web.dev: a service that is granted to no one. */
import { listen, sendJson } from './listen.ts';

listen(8080, (request, response) => sendJson(response, 200, { service: 'web.dev', path: request.url }));
