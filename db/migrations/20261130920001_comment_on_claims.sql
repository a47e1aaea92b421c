-- migrate:up
-- The comment told of a rule that 20261130100002_proven_domains.sql has removed: a domain is claimed
-- by anybody who may manage single sign-on, and proven afterwards.
set local role neurant_router;
comment on function private.set_sso_domains(uuid, text[]) is
  'Which domains a connection claims, from now on exactly these; a row for each that cannot be: public (a domain of public mailboxes) or taken (proven by another company, or claimed by another connection of this one), or one row forbidden or not_found. The caller rolls back if there is any. A claim proves nothing; private.note_sso_domain_check and private.prove_sso_domain prove it. Definer: whether another company has proven a domain is beyond the caller''s rights.';
reset role;
-- migrate:down
