/** web.dev: a service that nobody is granted. */
import { listen, sendJson } from './listen.ts';

listen(8080, (request, response) => sendJson(response, 200, { service: 'web.dev', path: request.url }));
