-- A row of each company in each table that came with this release. Like a migration, it never changes.
set local session_replication_role = replica;  -- rows as they would be; nobody is logged in here
do $$
declare
  v_archive name;
  v_columns text;
  k record;
begin
  -- The archives hold what the live tables hold: rows of their form are what counts here.
  for v_archive in
    select c.relname from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relname like '%\_archived' order by 1
  loop
    select string_agg(format('%I', a.attname), ', ') into v_columns from pg_attribute a
    where a.attrelid = format('public.%I', v_archive)::regclass and a.attnum > 0 and not a.attisdropped;
    execute format('insert into public.%I (%s) select %2$s from public.%I', v_archive, v_columns,
      replace(v_archive, '_archived', ''));
  end loop;
  for k in
    select c.id as company, b.id as bot, v.id as conversation, m.id as message, uuidv7() as audit
    from public.companies c
    join public.chatbots b on b.company_id = c.id
    join public.messages m on m.company_id = c.id and m.sender_type = 'bot'
    join public.conversations v on v.company_id = c.id and v.id = m.conversation_id
    order by c.id
  loop
    insert into public.archive_batches
      (company_id, kind, conversation_ids, counts, checksums, started_at, finished_at)
    values (k.company, 'archive', array[k.conversation], '{"conversations": 1}', '{}', now(), now());
    insert into public.analytics_daily (company_id, chatbot_id, date) values
      (k.company, null, '2026-01-01'), (k.company, k.bot, '2026-01-01');
    insert into public.audit_logs (company_id, id, action, resource_type)
    values (k.company, k.audit, 'update', 'users');
    insert into public.audit_salts (company_id, subject, salt)
    values (k.company, k.audit, sha256(k.company::text::bytea));
    insert into public.audit_unsealed (company_id, audit_id) values (k.company, k.audit);
    insert into public.audit_seals (company_id, seq, audit_id, row_digest, chain_hash)
    values (k.company, 1, k.audit, sha256('r'), sha256('c'));
    insert into public.audit_chains (company_id, seq, chain_hash, sealed_at)
    values (k.company, 1, sha256('c'), now());
    insert into public.conversation_search (company_id, conversation_id, chatbot_id, person)
    values (k.company, k.conversation, k.bot, 'siete');
    insert into public.message_search (company_id, message_id, conversation_id, chatbot_id, search)
    values (k.company, k.message, k.conversation, k.bot, to_tsvector('private.spanish', 'cuesta'));
    insert into public.knowledge_uses (company_id, document_ids, chunk_ids, used_at)
    values (k.company, '[]', '[]', now());
    insert into public.plan_alerts (company_id, subject, level, period_start)
    values (k.company, 'max_users', 80, '2026-01-01');
    insert into public.usage_slots (company_id, slot, used, granted) values (k.company, 1, 2, 3);
  end loop;
end $$;
